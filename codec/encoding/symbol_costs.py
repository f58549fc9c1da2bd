"""What symbols cost under a model's tables, as arrays to look up: the rate in rate-distortion decisions."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from codec.entropy.constants import HYPER_MAX
from codec.networks.model import Model

MAX_MAGNITUDE = 1024
"""Larger symbols are taken to cost as much as this."""


class SymbolCosts:
    """Ideal code lengths of a model's symbols and hyper-latents, in bits."""

    def __init__(self, model: Model) -> None:
        magnitudes = np.arange(MAX_MAGNITUDE + 1)
        rows = [table.code_lengths(magnitudes) for table in model.scale_tables]
        self._symbols = np.stack(rows).astype(np.float32)  # (SCALE_LEVELS, MAX_MAGNITUDE + 1)
        values = np.arange(-HYPER_MAX, HYPER_MAX + 1)
        rows = [table.code_lengths(values) for table in model.hyper_tables]
        self._hyper = np.stack(rows).astype(np.float32)  # (N, 2 * HYPER_MAX + 1)

    def bits_of(self, symbols: np.ndarray, scale_indices: np.ndarray) -> np.ndarray:
        """Bits of ``symbols`` under ``scale_indices``, integer arrays that broadcast: float32."""
        return self._symbols[scale_indices, np.abs(symbols).clip(max=MAX_MAGNITUDE)]

    def hyper_bits(self, z_hat: np.ndarray) -> float:
        """Bits of the hyper-latents (N, h, w) of a tile."""
        channels = np.arange(len(z_hat))[:, None, None]
        return float(self._hyper[channels, z_hat.astype(np.int64) + HYPER_MAX].sum())


@lru_cache(maxsize=8)
def symbol_costs(model: Model) -> SymbolCosts:
    """The costs of ``model``, computed once."""
    return SymbolCosts(model)
