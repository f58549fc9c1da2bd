"""The order in which symbols are coded: hyper-latents, then the four context steps.

The one place where the engine and the range coder meet. Encoder and decoder walk the same steps; what
differs is where a symbol comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from codec.codebook import block_of, vectors_of
from codec.engine import Engine
from codec.errors import FormatError
from codec.hidden_signs import Wanted
from codec.model_file import Model
from codec.range_coder import VALUE_LIMIT, Decoder, Encoder
from codec.tables import HYPER_MAX, MEAN_SHIFT, SCALE_LEVELS, STEPS, quality_level, step_phases
from codec.tile_content import HIDING_LATENTS, LATENTS, TileContent

UNITS = 1 << MEAN_SHIFT
Blocks = list[np.ndarray]
"""A step's latents: for each group of channels those at its positions, (M / 4, rows, columns)."""


class Predicted(NamedTuple):
    """What a context step says of its latents. Means are integers in units of 2**-MEAN_SHIFT."""

    means: Blocks
    indices: Blocks
    positions: list[tuple[slice, slice, slice]]

    def residuals(self, y: np.ndarray) -> Blocks:
        """What latents ``y`` (M, h, w), in quantisation steps, are beyond the means, in their units."""
        return [y[p] * UNITS - mean for p, mean in zip(self.positions, self.means, strict=True)]


Residuals = Callable[[Predicted], Blocks]
"""Gives what a step's latents are beyond the means, in their units."""


def _step_positions(latents: int, height: int, width: int, step: int) -> list[tuple[slice, slice, slice]]:
    group = latents // STEPS
    return [
        (slice(g * group, (g + 1) * group), slice(row, None, 2), slice(column, None, 2))
        for g, (row, column) in enumerate(step_phases(step))
    ]


class ContextSteps:
    """The context steps of a tile's latents (M, h, w): each is predicted from what is decoded before it."""

    def __init__(self, engine: Engine, z_hat: np.ndarray, quality: int, shape: tuple[int, int, int]) -> None:
        level = np.full((1, 1, 1, 1), quality_level(quality), np.float32)
        features = engine.run("hyper_synthesis", z_hat=z_hat[None], quality_level=level)[0]
        self._features = np.ascontiguousarray(features[:, :, : shape[1], : shape[2]])
        self._engine, self._step, self._decoded = engine, 0, np.zeros((1, *shape), np.float32)

    @property
    def decoded(self) -> np.ndarray:
        """Latents (M, h, w), integers in units of 2**-MEAN_SHIFT; zeros where none are decoded yet."""
        return self._decoded[0]

    def predict(self) -> Predicted:
        """What the next step's latents are expected to be."""
        width = self._features.shape[1] // STEPS
        inputs = {"features": self._features[:, self._step * width : (self._step + 1) * width]}
        if self._step:
            inputs["decoded"] = self._decoded
        mean, scale_index = (a[0] for a in self._engine.run(f"context{self._step}", **inputs))
        shape = self.decoded.shape
        positions = _step_positions(*shape, self._step)
        means, scales = (_placed(found, positions, shape) for found in (mean, scale_index))
        return Predicted(means, [part.clip(0, SCALE_LEVELS - 1).astype(np.int64) for part in scales], positions)

    def settle(self, predicted: Predicted, residuals: Blocks) -> None:
        """Take the next step's latents to be so much beyond what was ``predicted``, in units of 2**-MEAN_SHIFT."""
        for p, mean, residual in zip(predicted.positions, predicted.means, residuals, strict=True):
            self.decoded[p] = mean + residual
        self._step += 1


def walk(
    engine: Engine, z_hat: np.ndarray, quality: int, shape: tuple[int, int, int], residuals: Residuals
) -> np.ndarray:
    """Decoded latents (M, h, w), integers in units of 2**-MEAN_SHIFT; ``residuals`` is asked once a step."""
    steps = ContextSteps(engine, z_hat, quality, shape)
    for _ in range(STEPS):
        predicted = steps.predict()
        steps.settle(predicted, residuals(predicted))
    return steps.decoded


def _placed(found: np.ndarray, positions: list[tuple[slice, slice, slice]], shape: tuple[int, int, int]) -> Blocks:
    """What a context step predicts of its latents: all that it gives, (M, ceil(h/2), ceil(w/2)), or part of (M, h, w).

    Raises:
        FormatError: when it is of neither size, or holds anything but numbers.
    """
    latents, height, width = shape
    if not np.isfinite(found).all():
        raise FormatError("the model's context steps give values that are not numbers")
    if found.shape == shape:
        return [found[p] for p in positions]
    if found.shape != (latents, -(-height // 2), -(-width // 2)):
        raise FormatError("the model's context steps do not give one mean and scale for each latent")
    return [
        found[channels, : len(range(height)[rows]), : len(range(width)[columns])]
        for channels, rows, columns in positions
    ]


def _flat(blocks: Blocks) -> np.ndarray:
    return np.concatenate([block.ravel() for block in blocks])


def _blocks(flat: np.ndarray, like: Blocks) -> Blocks:
    ends = np.cumsum([block.size for block in like])
    return [part.reshape(block.shape) for part, block in zip(np.split(flat, ends[:-1]), like, strict=True)]


def _vectors(blocks: Blocks, length: int) -> np.ndarray:
    return np.concatenate([vectors_of(block, length) for block in blocks])


def _vector_blocks(vectors: np.ndarray, like: Blocks) -> Blocks:
    ends = np.cumsum([block.size // vectors.shape[1] for block in like])
    return [block_of(part, block.shape) for part, block in zip(np.split(vectors, ends[:-1]), like, strict=True)]


def hyper_shape(height: int, width: int) -> tuple[int, int]:
    """The size of the hyper-latents that belong to latents of a size."""
    return -(-height // 4), -(-width // 4)


def hyper_latents(engine: Engine, y: np.ndarray) -> np.ndarray:
    """The hyper-latents (N, h/4, w/4), rounded up to whole, that latents ``y`` (M, h, w) in steps are coded with."""
    _, h, w = y.shape
    hyper_h, hyper_w = hyper_shape(h, w)
    padded = np.pad(y, ((0, 0), (0, 4 * hyper_h - h), (0, 4 * hyper_w - w)), mode="edge")
    z = engine.run("hyper_analysis", y=padded[None])[0][0]
    return np.clip(np.nan_to_num(np.rint(z)), -HYPER_MAX, HYPER_MAX).astype(np.float32)


def symbols_of(residuals: np.ndarray) -> np.ndarray:
    """The integers (int32) nearest to residuals in units of ``2**-MEAN_SHIFT``, as far as they can be coded."""
    rounded = np.nan_to_num(np.rint(residuals / UNITS))
    return np.clip(rounded, 1 - VALUE_LIMIT, VALUE_LIMIT - 1).astype(np.int32)


class LatentEncoder:
    """Codes a tile's latents (M, h, w), one context step after the other.

    Args:
        z_hat: (N, h/4, w/4), their hyper-latents, which are coded at once.
        shape: (M, h, w).
        quality: in hundredths.
        hide: whether to hide signs where the model has any.
    """

    def __init__(
        self,
        engine: Engine,
        model: Model,
        z_hat: np.ndarray,
        shape: tuple[int, int, int],
        quality: int,
        *,
        hide: bool = False,
    ) -> None:
        self._model, self._coder, self._hidden = model, Encoder(), model.hidden_signs if hide else None
        channels = np.repeat(np.arange(len(z_hat)), z_hat[0].size)
        self._coder.encode(z_hat.ravel().astype(np.int32), channels, model.hyper_tables)
        self._steps = ContextSteps(engine, z_hat, quality, shape)

    @property
    def decoded(self) -> np.ndarray:
        """What a decoder makes of it, as ``decode_latents`` gives it; zeros where nothing is coded yet."""
        return self._steps.decoded

    def predict(self) -> Predicted:
        """What is known of the step to be coded next."""
        return self._steps.predict()

    @staticmethod
    def code(
        encoders: list[LatentEncoder], predictions: list[Predicted], y: list[np.ndarray], rate_weight: float = 1.0
    ) -> None:
        """Code with each of ``encoders`` those of its latents ``y``, in quantisation steps, that it has predicted.

        All are of one model and hide signs, which is done side by side, or do not. ``rate_weight`` is for moves that
        hide them, as ``HiddenSigns.moved`` takes it.
        """
        hidden, bits_of = encoders[0]._hidden, encoders[0]._model.bits_of
        if hidden is None:
            for encoder, predicted, latents in zip(encoders, predictions, y, strict=True):
                encoder._code_with_signs(predicted, predicted.residuals(latents))
            return
        tiles = []
        for predicted, latents in zip(predictions, y, strict=True):
            flat, indices = _flat(predicted.residuals(latents)), _flat(predicted.indices)
            symbols = symbols_of(flat)
            tiles.append(Wanted(symbols, symbols - flat / UNITS, indices, hidden.layout(indices)))
        coded = hidden.moved(tiles, bits_of, rate_weight)
        for encoder, predicted, tile, symbols in zip(encoders, predictions, tiles, coded, strict=True):
            hidden.encode(encoder._coder, tile, symbols)
            encoder._steps.settle(predicted, _blocks(symbols * UNITS, predicted.means))

    def _code_with_signs(self, predicted: Predicted, wanted: Blocks) -> None:
        if (book := self._model.codebook) is not None:
            vectors, indices = _vectors(wanted, book.length), _vectors(predicted.indices, book.length)
            coded = _vector_blocks(book.encode(self._coder, vectors, indices), wanted)
        else:
            symbols = symbols_of(_flat(wanted))
            self._coder.encode(symbols, _flat(predicted.indices), self._model.scale_tables)
            coded = _blocks(symbols * UNITS, wanted)
        self._steps.settle(predicted, coded)

    def finish(self) -> TileContent:
        """The tile, once all steps are coded."""
        return TileContent(HIDING_LATENTS if self._hidden else LATENTS, self._coder.finish())


def encode_latents(engine: Engine, model: Model, y: np.ndarray, quality: int) -> tuple[TileContent, np.ndarray]:
    """The tile that latents ``y`` (M, h, w), in quantisation steps, are coded in, and what a decoder makes of it."""
    encoder = LatentEncoder(engine, model, hyper_latents(engine, y), y.shape, quality)
    for _ in range(STEPS):
        LatentEncoder.code([encoder], [encoder.predict()], [y])
    return encoder.finish(), encoder.decoded


def decode_latents(
    engine: Engine, model: Model, content: TileContent, quality: int, height: int, width: int
) -> np.ndarray:
    """Latents (M, h, w) float32, integers in units of 2**-MEAN_SHIFT. Raises FormatError on damage."""
    coder, hidden = Decoder(content.colours), model.hidden_signs
    if content.hides_signs and hidden is None:
        raise FormatError("a tile hides signs, which the model's vectors do not have")
    hyper_h, hyper_w = hyper_shape(height, width)
    count = model.metadata["hyper_latents"]
    channels = np.repeat(np.arange(count), hyper_h * hyper_w)
    z_hat = coder.decode(channels, model.hyper_tables).reshape(count, hyper_h, hyper_w).astype(np.float32)
    if np.abs(z_hat).max() > HYPER_MAX:
        raise FormatError("a coded stream holds a hyper-latent out of range")

    def residuals(predicted: Predicted) -> Blocks:
        means, indices, _ = predicted
        if (book := model.codebook) is not None:
            return _vector_blocks(book.decode(coder, _vectors(indices, book.length)), means)
        scale_indices = _flat(indices)
        if content.hides_signs:
            symbols = hidden.decode(coder, scale_indices)
        else:
            symbols = coder.decode(scale_indices, model.scale_tables)
        return _blocks(symbols * UNITS, means)

    decoded = walk(engine, z_hat, quality, (model.metadata["latents"], height, width), residuals)
    coder.finish()
    return decoded
