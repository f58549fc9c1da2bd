"""Signs that cost no bits: the parities of all symbols of a context step say the signs of those with the widest scales.

HEVC hides one sign in the parity of a coefficient group's sum (sign bit hiding; Clare, Henry, Jung 2011). Here the
signs are the message of a syndrome-trellis code (Filler, Judas, Fridrich 2011) whose carriers are the parities of
symbols. This file is the decoder's side: which symbols carry, which have no sign in the stream, and how parities give
signs. The encoder (``codec.encoding.hide_signs``) changes symbols by one, where that costs least, until the parities
give the right signs: about a quarter of a bit for each sign instead of one. The gain is that of trellis coded
quantisation at high rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from codec.entropy.constants import SCALE_LEVELS
from codec.entropy.range_coder import TOTAL, RangeDecoder, Table

MIN_NONZERO_FREQUENCY = TOTAL // 160
"""Symbols that are non-zero with a lower frequency (of TOTAL) carry nothing: to change them costs too much."""
WARM_UP = TOTAL
"""Capacity that is left unused: the first message bits need more carriers, as no earlier ones take part in them."""
LANE_BITS, MAX_LANES = 48, 256
"""A lane's code loses about one bit at its start, so lanes are long; encoders work on all lanes at once."""
CONSTRAINT_HEIGHT = 8
"""Message bits that one carrier takes part in: columns of the parity-check matrix are bytes."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Which of a step's N symbols are carriers, and which have no sign in the stream.

    Carriers stand in T rows of L lanes, each lane with a code of its own of G message bits.
    """

    carriers: np.ndarray  # (T, L): indices of the carriers among the symbols
    ends: np.ndarray  # (G,): see ``message``
    signless: np.ndarray  # (G, L): indices of the symbols without signs, which are the last carriers


def parity_columns(count: int) -> np.ndarray:
    """Columns of the parity-check matrix for ``count`` rows of carriers, (count,) uint8.

    Bit i says whether a row takes part in the i-th message bit from the current one on. Spread by the golden ratio
    (Knuth's multiplicative hash); the first and the last bit are always set.
    """
    spread = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B1) & np.uint64(0xFFFFFFFF)
    return (spread >> np.uint64(32 - CONSTRAINT_HEIGHT)).astype(np.uint8) | np.uint8(1 | 1 << (CONSTRAINT_HEIGHT - 1))


def message(parities: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The message (G, L), 0 or 1, that the carriers' ``parities`` (T, L) say.

    ``ends`` (G,) rises strictly to T: rows from ``ends[g]`` on take no part in message bit g.
    """
    starts = np.concatenate([[0], ends[:-1]])
    columns = np.where(parities != 0, parity_columns(len(parities))[:, None], np.uint8(0))
    segments = np.bitwise_xor.reduceat(columns, starts, axis=0)  # (G, L): each adds to CONSTRAINT_HEIGHT message bits
    bits = segments & 1
    for i in range(1, min(CONSTRAINT_HEIGHT, len(ends))):
        bits[i:] ^= segments[:-i] >> i & 1
    return bits


def sign_message(symbols: np.ndarray, layout: Layout) -> np.ndarray:
    """The signs (G, L) that the parities of ``symbols`` (N,) say: 1 is negative."""
    return message(symbols[layout.carriers] & 1, layout.ends)


def apply_signs(magnitudes: np.ndarray, layout: Layout) -> np.ndarray:
    """Symbols (N,) from ``magnitudes`` (N,), in which those of ``layout.signless`` have no signs yet."""
    symbols = magnitudes.copy()
    symbols[layout.signless] *= 1 - 2 * sign_message(magnitudes, layout).astype(np.int32)
    return symbols


@dataclass(frozen=True, eq=False)
class HiddenSigns:
    """How a model's context steps hide signs; ``scale_tables`` has one table for each scale index."""

    scale_tables: list[Table]

    @cached_property
    def tables(self) -> list[Table]:
        """The tables of the scale indices, then their tables of magnitudes."""
        return self.scale_tables + [table.folded() for table in self.scale_tables]

    @cached_property
    def capacities(self) -> np.ndarray:
        """For each scale index, the part of a message bit (of TOTAL) that one symbol carries."""
        zeros = np.array([table.frequencies[table.radius] for table in self.scale_tables], np.int64)
        nonzeros = TOTAL - zeros
        return np.where(nonzeros < MIN_NONZERO_FREQUENCY, 0, 7 * TOTAL * nonzeros // (10 * TOTAL + 12 * nonzeros))

    def layout(self, scale_indices: np.ndarray) -> Layout | None:
        """The layout for a step's scale indices (N,); None where no sign can be hidden."""
        capacities = self.capacities[scale_indices]
        order: np.ndarray = np.flatnonzero(capacities)
        order = order[np.argsort(scale_indices[order].astype(np.uint8), kind="stable")]
        lanes = min(max(int(capacities.sum()) // (LANE_BITS * TOTAL), 1), MAX_LANES)
        order = order[len(order) % lanes :].reshape(-1, lanes)
        total_capacity = np.cumsum(capacities[order[:, 0]])
        bits = (int(total_capacity[-1]) - WARM_UP) // TOTAL if len(total_capacity) else 0
        if bits <= 0:
            return None
        ends = np.searchsorted(total_capacity, total_capacity[-1] - TOTAL * np.arange(bits)[::-1]) + 1
        return Layout(order, ends, order[-bits:])

    def decode(self, decoder: RangeDecoder, scale_indices: np.ndarray) -> np.ndarray:
        """The symbols (N,) int32 of a step with these scale indices (N,). Raises FormatError on damage."""
        layout = self.layout(scale_indices)
        if layout is None:
            return decoder.decode(scale_indices, self.scale_tables)
        return apply_signs(decoder.decode(table_indices(scale_indices, layout), self.tables), layout)


def table_indices(scale_indices: np.ndarray, layout: Layout) -> np.ndarray:
    """For each symbol (N,) the index of its table among ``HiddenSigns.tables``."""
    indices = scale_indices.copy()
    indices[layout.signless] += SCALE_LEVELS
    return indices
