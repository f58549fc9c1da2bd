"""Checkpoints: the state of a training, from which it is resumed or exported."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from codec_models.training.recipe import Recipe, recipe_from_dict

VERSION = 2
"""Version of the checkpoint's content. In version 1, weights have other names."""
AVERAGE_PREFIX = "module."
"""Prefix of the names of averaged weights in a checkpoint."""


def save_checkpoint(path: Path, recipe: Recipe, state: dict) -> None:
    """Write ``state`` and ``recipe``. If the process is killed, ``path`` is either the old or the new checkpoint."""
    temporary = path.with_suffix(".partial")
    torch.save({**state, "version": VERSION, "recipe": dataclasses.asdict(recipe)}, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> tuple[Recipe, dict]:
    """Read a checkpoint; only tensors and plain values are unpickled.

    Raises:
        ValueError: when the file is missing, damaged, of another version, or not a checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such checkpoint") from error
    except Exception as error:  # torch.load raises a different class for each kind of damage
        raise ValueError(f"{path}: not a checkpoint of this project") from error
    version = state.get("version") if isinstance(state, dict) else None
    if type(version) is not int:
        raise ValueError(f"{path}: not a checkpoint of this project")
    if version != VERSION:
        raise ValueError(
            f"{path}: a checkpoint of version {version}; this release reads version {VERSION}."
            " Export it with the release that wrote it, and start from the model file."
        )
    types = {"recipe": dict, "step": int, "seconds": float}
    if any(type(state.get(name)) is not kind for name, kind in types.items()):
        raise ValueError(f"{path}: a checkpoint without its recipe, step or seconds")
    if not isinstance(state.get("average"), dict) or not isinstance(state.get("mixture"), Tensor | None):
        raise ValueError(f"{path}: a checkpoint without averaged weights, or whose mixture is not a tensor")
    return recipe_from_dict(state["recipe"]), state


def averaged_weights(state: dict) -> dict[str, Tensor]:
    """The averaged weights in a checkpoint's ``state``, by their names in ``CompressionModel``."""
    average = state["average"].items()
    return {name.removeprefix(AVERAGE_PREFIX): value for name, value in average if name.startswith(AVERAGE_PREFIX)}


@contextlib.contextmanager
def restoring() -> Iterator[None]:
    """Around code that restores parts of a checkpoint. Raises ValueError when these do not fit."""
    try:
        yield
    except Exception as error:  # torch raises a different class for each kind of misfit
        raise ValueError("the checkpoint does not fit its recipe") from error
