"""Quantisation with gradients: the straight-through estimator, scalar quantisation, vector quantisation."""

from __future__ import annotations

from torch import nn

from codec_models.quantization.scalar import SCALAR_MODES, ScalarQuantizer
from codec_models.quantization.vector import ResidualVectorQuantizer

MODES = (*SCALAR_MODES, "vq", "vq_gumbel")
"""The values of a recipe's ``quantization``: scalar modes, and vectors assigned by distance or by sampling."""


def make_quantizer(mode: str) -> nn.Module:
    """The quantizer for ``mode``, one of ``MODES``. Raises ValueError for any other name."""
    if mode == "vq":
        return ResidualVectorQuantizer("nearest")
    if mode == "vq_gumbel":
        return ResidualVectorQuantizer("gumbel")
    return ScalarQuantizer(mode)
