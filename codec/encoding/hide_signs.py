"""Hiding signs: symbols are changed by one, where rate and distortion suffer least, until parities say the signs.

The decoder's side, with the sources of the method, is ``codec.entropy.hidden_signs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from codec.encoding import syndrome_trellis
from codec.encoding.symbol_costs import SymbolCosts
from codec.entropy.hidden_signs import HiddenSigns, Layout, apply_signs, sign_message, table_indices
from codec.entropy.range_coder import VALUE_LIMIT, RangeEncoder

CURVATURE = 32.0
"""Second derivative of lambda * squared error by a latent, in bits per squared quantisation step, the same for
all latents."""
RATE_WEIGHTS = np.array([0.4, 0.8, 0.4])
"""Weights of the bits that a change saves or costs, for symbols of magnitude 0, 1, and more. Training has already
balanced the latents against the rate, so bits count less than 1. They count more for magnitude 1, which may become
zero."""


class StepSymbols(NamedTuple):
    """A context step's symbols (N,) in one tile, before any are changed."""

    symbols: np.ndarray  # int32
    errors: np.ndarray  # symbol minus the latent's residual, in quantisation steps
    scale_indices: np.ndarray
    layout: Layout | None  # of the scale indices


def hide_signs(tiles: Sequence[StepSymbols], costs: SymbolCosts, rate_weight: float = 1.0) -> list[np.ndarray]:
    """For each tile the symbols (N,) whose parities say the signs, changed by one where that costs least.

    Args:
        tiles: the same context step of several tiles, whose trellises are searched side by side.
        rate_weight: multiplies ``RATE_WEIGHTS``.
    """
    layouts = {i: tile.layout for i, tile in enumerate(tiles) if tile.layout}
    changes = [_change(tiles[i], layout, costs, rate_weight) for i, layout in layouts.items()]
    flips = syndrome_trellis.cheapest_flips([change for change, _ in changes])
    results = [tile.symbols for tile in tiles]
    for (i, layout), (_, directions), flipped in zip(layouts.items(), changes, flips, strict=True):
        symbols = results[i].copy()
        symbols[layout.carriers[flipped]] += directions[flipped]
        symbols[layout.signless] = np.abs(symbols[layout.signless])
        results[i] = apply_signs(symbols, layout)
    return results


def encode_symbols(encoder: RangeEncoder, signs: HiddenSigns, tile: StepSymbols, symbols: np.ndarray) -> None:
    """Code the ``symbols`` (N,) that ``hide_signs`` returned for ``tile``."""
    if tile.layout is None:
        encoder.encode(symbols, tile.scale_indices, signs.scale_tables)
        return
    magnitudes = symbols.copy()
    magnitudes[tile.layout.signless] = np.abs(symbols[tile.layout.signless])
    encoder.encode(magnitudes, table_indices(tile.scale_indices, tile.layout), signs.tables)


def _change(
    tile: StepSymbols, layout: Layout, costs: SymbolCosts, rate_weight: float
) -> tuple[syndrome_trellis.Change, np.ndarray]:
    """The change of message that is needed, its costs, and for each carrier (T, L) the cheaper direction: 1 or -1."""
    symbol, scale_index = tile.symbols[layout.carriers], tile.scale_indices[layout.carriers]
    gradient = CURVATURE * tile.errors[layout.carriers]
    is_signless = np.zeros(symbol.shape, bool)
    is_signless[-len(layout.signless) :] = True

    def bits(symbols: np.ndarray) -> np.ndarray:
        return costs.bits_of(symbols, scale_index) - (is_signless & (symbols != 0))

    current, weight = bits(symbol), rate_weight * RATE_WEIGHTS[np.abs(symbol).clip(max=2)]
    up = CURVATURE / 2 + gradient + weight * (bits(symbol + 1) - current)
    down = CURVATURE / 2 - gradient + weight * (bits(symbol - 1) - current)
    is_up = (up < down) & (symbol < VALUE_LIMIT - 1) | (symbol <= 1 - VALUE_LIMIT)
    # A zero without a sign gets the one that the message says, so either direction may come out.
    flip_costs = np.where(is_signless & (symbol == 0), np.maximum(up, down), np.where(is_up, up, down))
    signs = tile.symbols[layout.signless]
    must_change = sign_message(tile.symbols, layout) ^ (signs < 0)
    change = syndrome_trellis.Change(flip_costs.clip(min=0), layout.ends, must_change, signs == 0)
    return change, np.where(is_up, 1, -1).astype(np.int32)
