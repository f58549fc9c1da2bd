"""A tile's stream to its latents: range decoding under the model's tables, context step by context step."""

from __future__ import annotations

import numpy as np

from codec.container.tile import TileContent
from codec.entropy.codebook import Codebook
from codec.entropy.constants import HYPER_MAX, UNITS
from codec.entropy.range_coder import RangeDecoder
from codec.errors import FormatError
from codec.networks.engine import Engine
from codec.networks.latents import (
    Prediction,
    StepArrays,
    concatenate,
    hyper_channels,
    hyper_shape,
    join_vectors,
    split_like,
    split_vectors,
    walk_steps,
)
from codec.networks.model import Model


def decode_latents(
    engine: Engine, model: Model, content: TileContent, hundredths: int, height: int, width: int
) -> np.ndarray:
    """The latents (M, height, width) of a tile, float32 integers in units of 2**-MEAN_SHIFT.

    Raises:
        FormatError: on damage.
        ModelError: for a model whose graphs do not compute what they should.
    """
    decoder = RangeDecoder(content.colours)
    signs = model.hidden_signs if content.hides_signs else None
    if content.hides_signs and signs is None:
        raise FormatError("a tile hides signs, which the model's vectors do not have")
    channels = hyper_channels(model.hyper_latents, height, width)
    z_hat = decoder.decode(channels, model.hyper_tables).reshape(-1, *hyper_shape(height, width)).astype(np.float32)
    if np.abs(z_hat).max() > HYPER_MAX:
        raise FormatError("a coded stream holds a hyper-latent out of range")

    def residuals_of(prediction: Prediction) -> StepArrays:
        if model.codebook is not None:
            return _decode_vectors(model.codebook, decoder, prediction)
        scale_indices = concatenate(prediction.scale_indices)
        symbols = signs.decode(decoder, scale_indices) if signs else decoder.decode(scale_indices, model.scale_tables)
        return split_like(symbols * UNITS, prediction.means)

    latents = walk_steps(engine, z_hat, hundredths, (model.latents, height, width), residuals_of)
    decoder.finish()
    return latents


def _decode_vectors(book: Codebook, decoder: RangeDecoder, prediction: Prediction) -> StepArrays:
    codewords = book.decode(decoder, join_vectors(prediction.scale_indices, book.length))
    return split_vectors(codewords, prediction.means)
