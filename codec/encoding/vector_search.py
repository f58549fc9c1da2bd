"""Vector-quantised models: the search for the codeword that is best in rate and distance."""

from __future__ import annotations

import numpy as np

from codec.entropy.codebook import Codebook, vector_classes
from codec.entropy.constants import UNITS
from codec.entropy.range_coder import PRECISION, RangeEncoder

_VECTORS_AT_ONCE = 4096
"""Vectors whose distances to all codewords are held in memory at a time."""


def encode_vectors(
    codebook: Codebook, encoder: RangeEncoder, residuals: np.ndarray, scale_indices: np.ndarray
) -> np.ndarray:
    """Code ``residuals`` (N, d), in units of ``2**-MEAN_SHIFT``, under ``scale_indices`` (N, d).

    Returns the codewords (N, d), in the same units: entropy-constrained (Chou, Lookabaugh, Gray 1989), the least
    squared distance plus ``codebook.rate_weight`` times the bits of the index.
    """
    classes = vector_classes(scale_indices)
    codewords = codebook.codewords / UNITS
    frequencies = [table.frequencies[: len(codewords)] for table in codebook.tables]
    bits = (PRECISION - np.log2(np.stack(frequencies))).astype(np.float32)
    chosen = np.empty(len(residuals), np.int32)
    for start in range(0, len(residuals), _VECTORS_AT_ONCE):
        part = slice(start, start + _VECTORS_AT_ONCE)
        x = np.nan_to_num(residuals[part]) / UNITS
        distance = (x * x).sum(1)[:, None] - 2 * x @ codewords.T + (codewords * codewords).sum(1)
        chosen[part] = (distance + codebook.rate_weight * bits[classes[part]]).argmin(1)
    encoder.encode(chosen - codebook.tables[0].radius, classes, codebook.tables)
    return codebook.codewords[chosen]
