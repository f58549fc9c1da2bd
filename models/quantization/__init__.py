"""Quantisation that gradients pass through: the straight-through estimator, and what is built on it."""

from __future__ import annotations

from torch import nn

from codec_models.quantization.scalar import SCALAR_MODES, ScalarQuantizer
from codec_models.quantization.vector import ResidualVectorQuantizer

MODES = (*SCALAR_MODES, "vq", "vq_gumbel")


def make_quantizer(mode: str) -> nn.Module:
    """The quantizer that a recipe names. Raises ValueError for a name that is not in ``MODES``."""
    if mode == "vq":
        return ResidualVectorQuantizer("nearest")
    if mode == "vq_gumbel":
        return ResidualVectorQuantizer("gumbel")
    return ScalarQuantizer(mode)
