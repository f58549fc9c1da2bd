"""A tile's latents to its stream: hyper-latents, symbols, range coding, context step by context step."""

from __future__ import annotations

import numpy as np

from codec.container.tile import LATENTS, LATENTS_HIDING_SIGNS, TileContent
from codec.encoding.hide_signs import StepSymbols, encode_symbols, hide_signs
from codec.encoding.symbol_costs import symbol_costs
from codec.encoding.vector_search import encode_vectors
from codec.entropy.constants import HYPER_MAX, STEPS, UNITS
from codec.entropy.range_coder import VALUE_LIMIT, RangeEncoder
from codec.networks.engine import Engine
from codec.networks.latents import (
    ContextSteps,
    Prediction,
    StepArrays,
    concatenate,
    hyper_channels,
    hyper_shape,
    join_vectors,
    split_like,
    split_vectors,
)
from codec.networks.model import Model


def hyper_latents(engine: Engine, y: np.ndarray) -> np.ndarray:
    """The rounded hyper-latents (N, ceil(h/4), ceil(w/4)) of latents ``y`` (M, h, w) in quantisation steps."""
    _, height, width = y.shape
    rows, columns = hyper_shape(height, width)
    padded = np.pad(y, ((0, 0), (0, 4 * rows - height), (0, 4 * columns - width)), mode="edge")
    z = engine.run("hyper_analysis", (1, None, rows, columns), y=padded[None])[0][0]
    return np.clip(np.nan_to_num(np.rint(z)), -HYPER_MAX, HYPER_MAX).astype(np.float32)


def symbols_of(residuals: np.ndarray) -> np.ndarray:
    """The nearest symbols (int32) to residuals in units of ``2**-MEAN_SHIFT``, within what can be coded."""
    rounded = np.nan_to_num(np.rint(residuals / UNITS))
    return np.clip(rounded, 1 - VALUE_LIMIT, VALUE_LIMIT - 1).astype(np.int32)


class TileEncoder:
    """Codes one tile's latents (M, h, w), one context step after the other.

    Args:
        z_hat: (N, ceil(h/4), ceil(w/4)): the tile's hyper-latents, which are coded at once.
        shape: (M, h, w).
        hundredths: the file's quality.
        hide: whether to hide signs, where the model has any.
    """

    def __init__(
        self,
        engine: Engine,
        model: Model,
        z_hat: np.ndarray,
        shape: tuple[int, ...],
        hundredths: int,
        *,
        hide: bool = False,
    ) -> None:
        self._model, self._range_encoder = model, RangeEncoder()
        self._signs = model.hidden_signs if hide else None
        channels = hyper_channels(len(z_hat), *shape[1:])
        self._range_encoder.encode(z_hat.ravel().astype(np.int32), channels, model.hyper_tables)
        self._steps = ContextSteps(engine, z_hat, hundredths, shape)

    @property
    def decoded(self) -> np.ndarray:
        """The latents as ``decode_latents`` will find them; zero where not coded yet."""
        return self._steps.decoded

    def predict(self) -> Prediction:
        """The prediction of the step that is to be coded next."""
        return self._steps.predict()

    @staticmethod
    def encode_step(
        encoders: list[TileEncoder], predictions: list[Prediction], y: list[np.ndarray], rate_weight: float = 1.0
    ) -> None:
        """Code the predicted step of several tiles, whose latents in quantisation steps are ``y``.

        The encoders are of one model, and all or none hide signs: that is done side by side. ``rate_weight`` is as for
        ``hide_signs``.
        """
        signs = encoders[0]._signs
        if signs is None:
            for encoder, prediction, latents in zip(encoders, predictions, y, strict=True):
                encoder._encode_plain(prediction, prediction.residuals(latents))
            return
        tiles = []
        for prediction, latents in zip(predictions, y, strict=True):
            residuals, scale_indices = concatenate(prediction.residuals(latents)), concatenate(prediction.scale_indices)
            symbols = symbols_of(residuals)
            layout = signs.layout(scale_indices)
            tiles.append(StepSymbols(symbols, symbols - residuals / UNITS, scale_indices, layout))
        step_symbols = hide_signs(tiles, symbol_costs(encoders[0]._model), rate_weight)
        for encoder, prediction, tile, symbols in zip(encoders, predictions, tiles, step_symbols, strict=True):
            encode_symbols(encoder._range_encoder, signs, tile, symbols)
            encoder._steps.decode(prediction, split_like(symbols * UNITS, prediction.means))

    def _encode_plain(self, prediction: Prediction, residuals: StepArrays) -> None:
        if (book := self._model.codebook) is not None:
            vectors, indices = (join_vectors(a, book.length) for a in (residuals, prediction.scale_indices))
            coded = split_vectors(encode_vectors(book, self._range_encoder, vectors, indices), residuals)
        else:
            symbols = symbols_of(concatenate(residuals))
            self._range_encoder.encode(symbols, concatenate(prediction.scale_indices), self._model.scale_tables)
            coded = split_like(symbols * UNITS, residuals)
        self._steps.decode(prediction, coded)

    def finish(self) -> TileContent:
        """The tile's content, once all steps are coded."""
        return TileContent(LATENTS_HIDING_SIGNS if self._signs else LATENTS, self._range_encoder.finish())


def encode_latents(engine: Engine, model: Model, y: np.ndarray, hundredths: int) -> tuple[TileContent, np.ndarray]:
    """Code latents ``y`` (M, h, w), in quantisation steps, by rounding alone.

    Returns the tile's content, and the latents as a decoder will find them.
    """
    encoder = TileEncoder(engine, model, hyper_latents(engine, y), y.shape, hundredths)
    for _ in range(STEPS):
        TileEncoder.encode_step([encoder], [encoder.predict()], [y])
    return encoder.finish(), encoder.decoded
