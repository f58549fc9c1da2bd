"""The order in which a tile's latents are coded: hyper-latents first, then four context steps.

Encoder and decoder walk the same steps. Each step predicts means and scales of the latents at its positions from the
hyper-latents and from all latents of earlier steps; what differs is where the residuals come from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from codec.entropy.codebook import from_vectors, to_vectors
from codec.entropy.constants import SCALE_LEVELS, STEPS, UNITS, quality_level, step_phases
from codec.errors import ModelError
from codec.networks.engine import Engine

Positions = tuple[slice, slice, slice]
"""Channels, rows and columns of one channel group's latents in a context step."""
StepArrays = list[np.ndarray]
"""Values at a context step's positions: one array (M / 4, rows, columns) for each channel group."""


class Prediction(NamedTuple):
    """What a context step predicts of its latents. Means are integers in units of 2**-MEAN_SHIFT steps."""

    means: StepArrays
    scale_indices: StepArrays
    positions: list[Positions]

    def residuals(self, y: np.ndarray) -> StepArrays:
        """Latents ``y`` (M, h, w), in quantisation steps, minus the means, in the means' units."""
        return [y[p] * UNITS - mean for p, mean in zip(self.positions, self.means, strict=True)]


ResidualSource = Callable[[Prediction], StepArrays]
"""Gives a step's latents minus the means, in the means' units."""


def hyper_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the hyper-latents of a tile with ``height`` x ``width`` latents."""
    return -(-height // 4), -(-width // 4)


def hyper_channels(count: int, height: int, width: int) -> np.ndarray:
    """For each hyper-latent of a tile, in array order, its channel: the index of its table."""
    rows, columns = hyper_shape(height, width)
    return np.repeat(np.arange(count), rows * columns)


class ContextSteps:
    """The context steps of one tile's latents (M, h, w).

    Args:
        z_hat: the tile's hyper-latents (N, ceil(h/4), ceil(w/4)), integers of magnitude up to ``HYPER_MAX``.
        hundredths: the file's quality.
        shape: (M, h, w).
    """

    def __init__(self, engine: Engine, z_hat: np.ndarray, hundredths: int, shape: tuple[int, ...]) -> None:
        level = np.full((1, 1, 1, 1), quality_level(hundredths), np.float32)
        expected = (1, None, *(4 * side for side in z_hat.shape[1:]))
        features = engine.run("hyper_synthesis", expected, z_hat=z_hat[None], quality_level=level)[0]
        if features.shape[1] % STEPS:
            raise ModelError("the model's features do not divide into equal parts for the context steps")
        self._features = np.ascontiguousarray(features[:, :, : shape[1], : shape[2]])
        self._engine, self._step, self._decoded = engine, 0, np.zeros((1, *shape), np.float32)

    @property
    def decoded(self) -> np.ndarray:
        """Latents (M, h, w), integers in units of 2**-MEAN_SHIFT; zero where not decoded yet."""
        return self._decoded[0]

    def predict(self) -> Prediction:
        """The prediction of the next step's latents. Raises ModelError when the graph gives anything else."""
        width = self._features.shape[1] // STEPS
        inputs = {"features": self._features[:, self._step * width : (self._step + 1) * width]}
        if self._step:
            inputs["decoded"] = self._decoded
        shape = self.decoded.shape
        expected = (1, shape[0], None, None)
        outputs = self._engine.run(f"context{self._step}", expected, expected, **inputs)
        mean, scale_index = (output[0] for output in outputs)
        positions = _step_positions(shape[0], self._step)
        means = _at_positions(mean, positions, shape)
        scale_indices = [
            part.clip(0, SCALE_LEVELS - 1).astype(np.int64) for part in _at_positions(scale_index, positions, shape)
        ]
        return Prediction(means, scale_indices, positions)

    def decode(self, prediction: Prediction, residuals: StepArrays) -> None:
        """Set the latents of the predicted step to the means plus ``residuals``, and go on to the next step."""
        for p, mean, residual in zip(prediction.positions, prediction.means, residuals, strict=True):
            self.decoded[p] = mean + residual
        self._step += 1


def walk_steps(
    engine: Engine, z_hat: np.ndarray, hundredths: int, shape: tuple[int, ...], residuals_of: ResidualSource
) -> np.ndarray:
    """All context steps of a tile, arguments as for ``ContextSteps``; ``residuals_of`` is asked once for each step.

    Returns the decoded latents (M, h, w), integers in units of 2**-MEAN_SHIFT.
    """
    steps = ContextSteps(engine, z_hat, hundredths, shape)
    for _ in range(STEPS):
        prediction = steps.predict()
        steps.decode(prediction, residuals_of(prediction))
    return steps.decoded


def _step_positions(latents: int, step: int) -> list[Positions]:
    group = latents // STEPS
    return [
        (slice(g * group, (g + 1) * group), slice(row, None, 2), slice(column, None, 2))
        for g, (row, column) in enumerate(step_phases(step))
    ]


def _at_positions(output: np.ndarray, positions: list[Positions], shape: tuple[int, ...]) -> StepArrays:
    """What a context graph gives, (M, ceil(h/2), ceil(w/2)) or the whole (M, h, w), at its step's positions.

    Raises:
        ModelError: when the output has neither shape, or holds anything but finite numbers.
    """
    latents, height, width = shape
    if not np.isfinite(output).all():
        raise ModelError("the model's context steps give values that are not numbers")
    if output.shape == shape:
        return [output[p] for p in positions]
    if output.shape != (latents, -(-height // 2), -(-width // 2)):
        raise ModelError("the model's context steps do not give one mean and scale for each latent")
    return [
        output[channels, : len(range(height)[rows]), : len(range(width)[columns])]
        for channels, rows, columns in positions
    ]


def concatenate(arrays: StepArrays) -> np.ndarray:
    """A step's values as one array (n,), in the order in which they are coded."""
    return np.concatenate([array.ravel() for array in arrays])


def split_like(values: np.ndarray, like: StepArrays) -> StepArrays:
    """The inverse of ``concatenate``, with the shapes of ``like``."""
    ends = np.cumsum([array.size for array in like])
    parts = np.split(values, ends[:-1])
    return [part.reshape(array.shape) for part, array in zip(parts, like, strict=True)]


def join_vectors(arrays: StepArrays, length: int) -> np.ndarray:
    """A step's values as vectors (N, length) of neighbouring channels, in the order in which they are coded."""
    return np.concatenate([to_vectors(array, length) for array in arrays])


def split_vectors(vectors: np.ndarray, like: StepArrays) -> StepArrays:
    """The inverse of ``join_vectors``, with the shapes of ``like``."""
    ends = np.cumsum([array.size // vectors.shape[1] for array in like])
    parts = np.split(vectors, ends[:-1])
    return [from_vectors(part, array.shape) for part, array in zip(parts, like, strict=True)]
