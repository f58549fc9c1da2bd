"""Starting a training from the weights of an earlier one: its checkpoint, or the model file that it ended with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Tensor

from codec.networks.model import load_model
from codec_models.networks.compression_model import CompressionModel
from codec_models.training.checkpoint import averaged_weights, load_checkpoint, restoring
from codec_models.training.klt_init import init_from_principal_components
from codec_models.training.model_file_weights import architecture_of, load_model_weights, take_weights
from codec_models.training.prune import pruned
from codec_models.training.recipe import Recipe


def load_earlier_weights(model: CompressionModel, path: Path, recipe: Recipe, pictures: list[Tensor]) -> dict:
    """Give ``model`` the weights of an earlier training. Returns facts about that training for the checkpoint.

    ``path`` is a checkpoint, whose averaged weights are taken, or a model file (.nicm). ``model`` may have more or
    fewer blocks, and fewer hidden channels in the blocks of its synthesis (see ``prune``).

    Raises:
        ValueError: when the file is not a checkpoint, is a vector-quantised model file, or its architecture differs in
            anything else.
        ModelError: when the file is not a model file.
    """
    init_from_principal_components(model, recipe, pictures)  # for blocks that the earlier model does not have
    is_model_file = path.suffix == ".nicm"
    earlier, facts = (_from_model_file if is_model_file else _from_checkpoint)(path, recipe, pictures)
    take_weights(model, pruned(earlier, model.architecture, recipe, pictures))
    return facts


def _from_model_file(path: Path, recipe: Recipe, pictures: list[Tensor]) -> tuple[CompressionModel, dict]:
    file = load_model(path)
    model = CompressionModel(architecture_of(file))
    init_from_principal_components(model, recipe, pictures)  # for the input scales, which no model file has
    load_model_weights(model, file)
    return model, {key: file.metadata.get(key) for key in ("steps", "hours", "recipe", "started_from")}


def _from_checkpoint(path: Path, _recipe: Recipe, _pictures: list[Tensor]) -> tuple[CompressionModel, dict]:
    recipe, saved = load_checkpoint(path)
    model = CompressionModel(recipe.architecture, recipe.quantization)
    with restoring():
        model.load_state_dict(averaged_weights(saved))
    model.likelihood.mixture = saved.get("mixture")
    return model, {
        "steps": saved["step"],
        "hours": round(saved["seconds"] / 3600, 3),
        "recipe": dataclasses.asdict(recipe),
        "started_from": saved.get("started_from"),
    }
