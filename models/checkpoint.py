"""Checkpoints: everything that training needs to go on, and export needs to build a model file."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import torch

from models.recipe import Recipe, recipe_from_dict

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
    return recipe_from_dict(state["recipe"]), state
