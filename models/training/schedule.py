"""The learning rates of a training: a linear warm-up, a plateau, and a decay."""

from __future__ import annotations

import torch

from codec_models.training.recipe import Recipe

EPSILON = 1e-6
"""Fraction of a training that keeps divisions by a duration of zero finite."""


def learning_rate_at(recipe: Recipe, fraction: float, group: str = "entropy") -> float:
    """The learning rate of a group of parameters when ``fraction`` in [0, 1] of the training is done.

    ``group`` is one of those of ``optimizer.parameter_groups``:

    - "entropy" learns from the beginning, at ``learning_rate``.
    - "transform" begins at ``transforms_from``, when the entropy networks have learned the statistics of the initial
      transforms, and learns at ``transform_rate`` times ``learning_rate``.
    - "rotation", the linear layers of the transforms, begins with them and learns at ``rotation_rate`` times
      ``learning_rate``. An error of 1 % in the direction of mean brightness is many quantisation steps in other
      directions.
    """
    begin = 0.0 if group == "entropy" else recipe.transforms_from
    factor = {"entropy": 1.0, "transform": recipe.transform_rate, "rotation": recipe.rotation_rate}[group]
    warmup = min(1.0, max(0.0, fraction - begin + EPSILON) / (recipe.warmup + EPSILON))
    decayed = min(1.0, max(0.0, (fraction - recipe.decay_from) / max(EPSILON, 1 - recipe.decay_from)))
    decays = {"geometric": recipe.final_rate**decayed, "linear": 1 - decayed * (1 - recipe.final_rate)}
    return recipe.learning_rate * factor * warmup * decays[recipe.decay]


def set_learning_rates(optimizer: torch.optim.Optimizer, recipe: Recipe, fraction: float) -> None:
    """Give each group of ``optimizer`` its learning rate when ``fraction`` in [0, 1] of the training is done."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(recipe, fraction, group["name"])
