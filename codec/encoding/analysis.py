"""The analysis transform on a window of a picture: pixels to latents, and the target of refining."""

from __future__ import annotations

import numpy as np

from codec.encoding.plan import Plan
from codec.encoding.synthesis_gradient import Target
from codec.entropy.constants import unit_quality
from codec.entropy.range_coder import VALUE_LIMIT
from codec.errors import ModelError
from codec.geometry import CELL, Area


def window_pixels(plan: Plan, cells: Area) -> np.ndarray:
    """x (3, H, W) in [0, 1] of whole cells; the picture's last row and column are repeated beyond its edges."""
    part = plan.tile_pixels(cells)
    missing = [(0, size - there) for size, there in zip(cells.scaled(CELL).shape, part.shape[:2], strict=True)]
    return np.pad(part, (*missing, (0, 0)), mode="edge").transpose(2, 0, 1).astype(np.float32) / 255


def analyse(plan: Plan, x: np.ndarray, cells: Area) -> np.ndarray:
    """Latents (M, h, w), in quantisation steps, of the pixels ``x`` of ``cells``; zero in tiles without latents.

    Raises:
        ModelError: for a model whose analysis gives latents of another shape.
    """
    quality = np.array([unit_quality(plan.header.hundredths)])
    y = plan.engine.run("analysis", (1, None, *cells.shape), x=x[None], quality=quality)[0][0]
    if len(y) != plan.model.latents:
        raise ModelError("the model's analysis does not give as many latents as its metadata says")
    for tile in plan.tiles_in(cells):
        if tile in plan.without_latents:
            y[(slice(None), *tile.intersection(cells).slices_in(cells))] = 0
    return np.nan_to_num(y).clip(-VALUE_LIMIT, VALUE_LIMIT)  # a damaged model's may be anything


def refinement_target(
    plan: Plan, x: np.ndarray, cells: Area, coded: dict[Area, tuple[slice, slice]], lambda_: float
) -> Target:
    """The target for the latents of a window with its margin, of pixels ``x``.

    Errors count in all tiles that have latents, those of the margin included.

    Args:
        coded: the window's tiles that have latents, and their rows and columns in those of ``cells``.
        lambda_: bits for each unit of squared error of a colour.
    """
    weight = np.zeros((1, *x.shape[1:]), np.float32)
    for tile in plan.tiles_in(cells):
        if tile not in plan.without_latents:
            counted = tile.intersection(cells).scaled(CELL).intersection(plan.frame)
            weight[(0, *counted.slices_in(cells.scaled(CELL)))] = lambda_
    return Target(x, weight, list(coded.values()))
