"""The gradient of lambda * squared error by a window's latents, from the model's gradient graph."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from codec.container.nicm import GRADIENT
from codec.encoding.rdoq import curvature_ratio
from codec.entropy.constants import unit_quality
from codec.errors import ModelError
from codec.geometry import CELL
from codec.networks.engine import Engine

_MEMORY_LIMIT = threading.BoundedSemaphore(12)
"""Gradients computed at a time: a window of 512x512 pixels takes 120 MB."""


class Target(NamedTuple):
    """The pixels that the latents (M, h, w) of a window with its margin are optimised for."""

    x: np.ndarray  # (3, 16h, 16w): the original pixels, in [0, 1]
    weight: np.ndarray  # (1, 16h, 16w): bits for each unit of squared error of a colour; 0 where errors do not count
    tiles: list[tuple[slice, slice]]  # rows and columns of the window's tiles, each of which is coded on its own


class Gradient(NamedTuple):
    """The synthesis output, and the gradient of its error by the latents."""

    x_hat: np.ndarray  # (3, 16h, 16w)
    by_latent: np.ndarray  # (M, h, w): in bits per quantisation step; zero outside the tiles
    curvature_ratio: np.ndarray  # (h, w): see ``codec.encoding.rdoq``


def synthesis_gradient(engine: Engine, decoded: np.ndarray, target: Target, hundredths: int) -> Gradient:
    """The gradient at ``decoded`` latents (M, h, w), in quantisation steps.

    Raises:
        ModelError: when the model's gradient graph does not fit its synthesis.
    """
    quality = np.array([unit_quality(hundredths)])
    inputs = {"y_hat": decoded[None], "x": target.x[None], "weight": target.weight[None], "quality": quality}
    with _MEMORY_LIMIT:
        outputs = engine.run(GRADIENT, (1, *target.x.shape), (1, *decoded.shape), **inputs)
    if not np.isfinite(outputs[1]).all():
        raise ModelError("the model's gradient does not fit its synthesis")
    x_hat, gradient = (array[0] for array in outputs)
    error = target.weight * np.square(x_hat - target.x)
    error = error.sum(axis=0).reshape(decoded.shape[1], CELL, -1, CELL).sum(axis=(1, 3))
    inside = np.zeros_like(gradient)  # latents around the tiles are fixed
    for rows, columns in target.tiles:
        inside[:, rows, columns] = gradient[:, rows, columns]
    return Gradient(x_hat, inside, curvature_ratio(gradient, error))
