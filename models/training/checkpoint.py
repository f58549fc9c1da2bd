"""Checkpoints: everything that training needs to go on, and export needs to build a model file."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from codec_models.training.recipe import Recipe, recipe_from_dict

VERSION = 1


def save_checkpoint(path: Path, recipe: Recipe, state: dict) -> None:
    """Write ``state`` with its recipe; a kill at any moment leaves the old checkpoint or the new one."""
    temporary = path.with_suffix(".partial")
    torch.save({**state, "version": VERSION, "recipe": dataclasses.asdict(recipe)}, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> tuple[Recipe, dict]:
    """Read a checkpoint, tensors and plain values only. Raises ValueError when it is not one."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such checkpoint") from error
    except Exception as error:  # torch.load raises a different class for every kind of damage
        raise ValueError(f"{path}: not a checkpoint of this project") from error
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise ValueError(f"{path}: not a checkpoint of version {VERSION}")
    kinds = {"recipe": dict, "step": int, "seconds": float}
    if any(type(state.get(name)) is not kind for name, kind in kinds.items()):
        raise ValueError(f"{path}: a checkpoint without its recipe, or of no known age")
    if not isinstance(state.get("mixture"), Tensor | None):
        raise ValueError(f"{path}: a checkpoint whose mixture is not a tensor")
    return recipe_from_dict(state["recipe"]), state


@contextlib.contextmanager
def restoring() -> Iterator[None]:
    """Inside, parts of a checkpoint are put where they belong. Raises ValueError when they do not fit."""
    try:
        yield
    except Exception as error:  # torch raises a different class for everything that can be missing or misshapen
        raise ValueError("the checkpoint does not fit its recipe") from error
