"""The optimiser over three groups of parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.layers import Float32Conv1x1
from codec_models.training.recipe import Recipe
from codec_models.training.soap import Soap

TRANSFORMS = ("g_a.", "g_s.", "gain.", "inverse_gain.")
"""Prefixes of the names of the transforms' parameters."""


def parameter_groups(model: CompressionModel) -> list[dict]:
    """The parameters that learn, in groups with learning rates of their own (see ``schedule.learning_rate_at``).

    "rotation" are the linear layers of the transforms, "transform" their other parameters, "entropy" all else.
    """
    groups: dict[str, list[nn.Parameter]] = {"entropy": [], "transform": [], "rotation": []}
    rotations = {id(p) for m in model.modules() if isinstance(m, Float32Conv1x1) for p in m.parameters()}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in rotations:
            groups["rotation"].append(parameter)
        else:
            groups["transform" if name.startswith(TRANSFORMS) else "entropy"].append(parameter)
    return [{"name": name, "params": parameters} for name, parameters in groups.items()]


def make_optimizer(model: CompressionModel, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser: AdamW (Loshchilov and Hutter 2019) or SOAP (Vyas et al. 2024)."""
    groups = parameter_groups(model)
    if recipe.optimizer == "soap":
        return Soap(groups, recipe.learning_rate)
    return torch.optim.AdamW(groups, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)


@contextlib.contextmanager
def flush_denormals() -> Iterator[None]:
    """Inside, the CPU treats denormal numbers as zero.

    Gradients of likelihoods have many of them, which take a quarter of the time of a step otherwise.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
