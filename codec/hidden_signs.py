"""Signs that take no bits: those of the widest latents are what the parities of all of a step's symbols say.

In HEVC's sign bit hiding (Clare, Henry, Jung 2011) the parity of a block's sum says one sign. Here the signs are the
message of a syndrome-trellis code whose carriers are the symbols' parities. A sign takes a bit to send, and about a
quarter of one to hide, in symbols that are moved by one where that costs least. That is what trellis coded quantisation
gains, and more at low rates, with a decoder that takes all of a step's symbols at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from codec import syndrome_trellis
from codec.range_coder import TOTAL, VALUE_LIMIT, Decoder, Encoder, Table
from codec.tables import SCALE_LEVELS

BitsOf = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes symbols and scale indices; gives bits."""
LEAST_CHANCE = TOTAL // 160
"""Symbols that are less likely to be other than zero than this (of TOTAL) carry nothing: moving them costs too much."""
WARM_UP = TOTAL
"""In capacity: the first message bits get more carriers than the others, as there are none before theirs."""
LANE_BITS, MOST_LANES = 48, 256
"""Each lane's code loses about a bit at its start, so it is to be long; but encoders work on all lanes at once."""
CURVATURE = 32.0
"""Bits: the second derivative of rate and distortion by a latent in quantisation steps that moves are taken to have."""
RATE_WEIGHTS = np.array([0.4, 0.8, 0.4])
"""Of the bits that a move from 0, from 1 and from more saves or takes. The analysis has weighed bits before, as far as
a slope goes: its latents lie closer to zero. That a symbol disappears is more than its slope says."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Which of a step's symbols are carriers, and whose signs they say."""

    carriers: np.ndarray  # (T, L): places among the step's symbols
    ends: np.ndarray  # (G,): see syndrome_trellis.message
    signless: np.ndarray  # (G, L): places of the symbols without signs, those of the last carriers


class Wanted(NamedTuple):
    """A step's symbols (N,) in one tile, before any are moved."""

    symbols: np.ndarray  # int32
    errors: np.ndarray  # what symbols are beyond what is wanted, in quantisation steps
    indices: np.ndarray  # scale indices
    layout: Layout | None  # that of the indices


@dataclass(frozen=True, eq=False)
class HiddenSigns:
    """Codes the symbols of context steps under a model's tables, one for each scale index, with hidden signs."""

    scale_tables: list[Table]

    @cached_property
    def tables(self) -> list[Table]:
        """The tables of the scale indices, then those of magnitudes."""
        return self.scale_tables + [table.of_magnitudes() for table in self.scale_tables]

    @cached_property
    def capacities(self) -> np.ndarray:
        """For each scale index, the part of a message bit (of TOTAL) that a symbol is to carry."""
        zeros = np.array([table.frequencies[table.radius] for table in self.scale_tables], np.int64)
        chances = TOTAL - zeros
        return np.where(chances < LEAST_CHANCE, 0, 7 * TOTAL * chances // (10 * TOTAL + 12 * chances))

    def layout(self, indices: np.ndarray) -> Layout | None:
        """The layout for a step's scale indices (N,); None where there is nothing to hide."""
        capacities = self.capacities[indices]
        order = np.flatnonzero(capacities)
        order = order[np.argsort(indices[order].astype(np.uint8), kind="stable")]
        lanes = min(max(int(capacities.sum()) // (LANE_BITS * TOTAL), 1), MOST_LANES)
        order = order[len(order) % lanes :].reshape(-1, lanes)
        reached = np.cumsum(capacities[order[:, 0]])
        count = (int(reached[-1]) - WARM_UP) // TOTAL if len(reached) else 0
        if count <= 0:
            return None
        ends = np.searchsorted(reached, reached[-1] - TOTAL * np.arange(count)[::-1]) + 1
        return Layout(order, ends, order[-count:])

    def moved(self, tiles: Sequence[Wanted], bits_of: BitsOf, rate_weight: float = 1.0) -> list[np.ndarray]:
        """Symbols for ``encode`` of each tile: what is wanted, but for those that are moved by one so that signs hide.

        Args:
            tiles: the same step of each.
            bits_of: the model's.
            rate_weight: how many times ``RATE_WEIGHTS`` bits are weighed.
        """
        hiding = [place for place, tile in enumerate(tiles) if tile.layout]
        choices = [_choices(tiles[place], tiles[place].layout, bits_of, rate_weight) for place in hiding]
        flips = syndrome_trellis.flips([change for change, _ in choices])
        found = [tile.symbols for tile in tiles]
        for place, (_, moves), flipped in zip(hiding, choices, flips, strict=True):
            symbols, layout = found[place].copy(), tiles[place].layout
            symbols[layout.carriers[flipped]] += moves[flipped]
            symbols[layout.signless] = np.abs(symbols[layout.signless])
            found[place] = _with_signs(symbols, layout)
        return found

    def encode(self, coder: Encoder, tile: Wanted, symbols: np.ndarray) -> None:
        """Code the ``symbols`` (N,) that ``moved`` has made of what is wanted in a tile."""
        if tile.layout is None:
            coder.encode(symbols, tile.indices, self.scale_tables)
            return
        magnitudes = symbols.copy()
        magnitudes[tile.layout.signless] = np.abs(symbols[tile.layout.signless])
        coder.encode(magnitudes, _table_indices(tile.indices, tile.layout), self.tables)

    def decode(self, coder: Decoder, indices: np.ndarray) -> np.ndarray:
        """The symbols (N,) int32 of a step of these scale indices (N,). Raises FormatError on damage."""
        layout = self.layout(indices)
        if layout is None:
            return coder.decode(indices, self.scale_tables)
        return _with_signs(coder.decode(_table_indices(indices, layout), self.tables), layout)


def _table_indices(indices: np.ndarray, layout: Layout) -> np.ndarray:
    found = indices.copy()
    found[layout.signless] += SCALE_LEVELS
    return found


def _message(symbols: np.ndarray, layout: Layout) -> np.ndarray:
    return syndrome_trellis.message(symbols[layout.carriers] & 1, layout.ends)


def _with_signs(symbols: np.ndarray, layout: Layout) -> np.ndarray:
    """Symbols (N,) of which those without signs, whose magnitudes are given, get theirs: 1 says negative."""
    found = symbols.copy()
    found[layout.signless] *= 1 - 2 * _message(symbols, layout).astype(np.int32)
    return found


def _choices(
    tile: Wanted, layout: Layout, bits_of: BitsOf, rate_weight: float
) -> tuple[syndrome_trellis.Change, np.ndarray]:
    """What is to change, at what cost, and for each carrier (T, L) the cheaper move by one: 1 or -1."""
    symbol, index = tile.symbols[layout.carriers], tile.indices[layout.carriers]
    slope = CURVATURE * tile.errors[layout.carriers]
    signless = np.zeros(symbol.shape, bool)
    signless[-len(layout.signless) :] = True

    def rate(moved: np.ndarray) -> np.ndarray:
        return bits_of(moved, index) - (signless & (moved != 0))

    now, weight = rate(symbol), rate_weight * RATE_WEIGHTS[np.abs(symbol).clip(max=2)]
    rises = CURVATURE / 2 + slope + weight * (rate(symbol + 1) - now)
    falls = CURVATURE / 2 - slope + weight * (rate(symbol - 1) - now)
    is_up = (rises < falls) & (symbol < VALUE_LIMIT - 1) | (symbol <= 1 - VALUE_LIMIT)
    # A zero without sign gets the one that the message says.
    costs = np.where(signless & (symbol == 0), np.maximum(rises, falls), np.where(is_up, rises, falls))
    signs = tile.symbols[layout.signless]
    wanted = _message(tile.symbols, layout) ^ (signs < 0)
    change = syndrome_trellis.Change(costs.clip(min=0), layout.ends, wanted, signs == 0)
    return change, np.where(is_up, 1, -1).astype(np.int32)
