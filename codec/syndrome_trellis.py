"""Syndrome-trellis codes (Filler, Judas, Fridrich 2011): bits said by sums of other bits, changed at the least cost.

Carriers stand in rows, side by side in lanes; each lane has a code of its own. A lane's message is a product of a
banded binary matrix and its carriers' bits. Who reads it needs that product alone; who writes looks for the cheapest
carriers to flip, by the Viterbi algorithm over the ``HEIGHT`` message bits that are still open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

HEIGHT = 8
"""Message bits that a carrier takes part in: the columns of the matrix are bytes."""
UNITS, DEAREST = 64, 20.0
"""Costs are counted in 64ths, up to 20: sums of a few of them fit in 16 bits, which takes half the time of 32."""
_FAR = np.int16(31_000)
"""What a state costs that is not reached. Those that are lie a few flips apart."""


class Change(NamedTuple):
    """How a message of G bits in each of L lanes, which T rows of carriers say, is to change."""

    costs: np.ndarray  # (T, L): of flipping each carrier, at least 0; those above ``DEAREST`` count as that
    ends: np.ndarray  # (G,): as for ``message``
    wanted: np.ndarray  # (G, L), 0 or 1: which message bits are to change
    free: np.ndarray  # (G, L), bool: which may change or not


def columns(count: int) -> np.ndarray:
    """The matrix's column (count,) uint8 of each row of carriers: bit i is the part in the i-th next message bit.

    Spread by the golden ratio (Knuth's multiplicative hash); the first and the last bit are always set.
    """
    spread = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B1) & np.uint64(0xFFFFFFFF)
    return (spread >> np.uint64(32 - HEIGHT)).astype(np.uint8) | np.uint8(1 | 1 << (HEIGHT - 1))


def message(bits: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The message (G, L), 0 or 1, of the carriers' ``bits`` (T, L).

    ``ends`` (G,) rises strictly to T: no row from the g-th end on takes part in message bit g.
    """
    starts = np.concatenate([[0], ends[:-1]])
    parts = np.where(bits != 0, columns(len(bits))[:, None], np.uint8(0))
    open_bits = np.bitwise_xor.reduceat(parts, starts, axis=0)  # (G, L): what each group of rows says of HEIGHT bits
    found = open_bits & 1
    for i in range(1, min(HEIGHT, len(ends))):
        found[i:] ^= open_bits[:-i] >> i & 1
    return found


def flips(changes: Sequence[Change]) -> list[np.ndarray]:
    """For each of ``changes`` the cheapest set of carriers (T, L), bool, whose flips make it.

    Lanes of all stand side by side: steps are so small that several changes take hardly longer than the longest one.
    """
    lanes = np.cumsum([0, *(change.costs.shape[1] for change in changes)])
    places = [slice(start, end) for start, end in zip(lanes[:-1], lanes[1:], strict=True)]
    rows = max((len(change.costs) for change in changes), default=0)
    costs = np.full((rows, lanes[-1]), DEAREST * UNITS, np.int16)  # where a lane has ended, a flip cannot be worth it
    endings: list[list[tuple[Change, slice, int]]] = [[] for _ in range(rows)]  # the message bits that each row ends
    for change, place in zip(changes, places, strict=True):
        costs[: len(change.costs), place] = np.rint(change.costs.clip(max=DEAREST) * UNITS)
        for bit, end in enumerate(change.ends.tolist()):
            endings[end - 1].append((change, place, bit))
    states, lane = np.arange(1 << HEIGHT), np.arange(lanes[-1])
    half = len(states) // 2
    # For each state, the next HEIGHT message bits as changed so far, and each lane: the least cost of getting there.
    least = np.full((len(states), lanes[-1]), _FAR)
    least[0] = 0
    flipped = np.empty((rows, *least.shape), bool)
    settled: list[np.ndarray] = []  # by state and lane, for each message bit in turn: whether it has changed
    steps = columns(rows).astype(np.int64)
    other = np.empty_like(least)
    for row, ending in enumerate(endings):
        np.take(least, states ^ steps[row], axis=0, out=other, mode="clip")
        other += costs[row]
        np.less(other, least, out=flipped[row])
        np.minimum(other, least, out=least)
        for change, place, bit in ending:
            same, changed = least[0::2, place], least[1::2, place]
            is_changed = np.where(change.free[bit], changed < same, change.wanted[bit] != 0)
            cheaper = np.where(is_changed, changed, same)
            least[:half, place] = cheaper - cheaper.min(axis=0)
            least[half:, place] = _FAR
            settled.append(is_changed)
    found = np.empty(costs.shape, bool)
    state = least.argmin(axis=0)
    for row in reversed(range(rows)):
        for _, place, _ in reversed(endings[row]):
            is_changed = settled.pop()
            state[place] = state[place] << 1 | is_changed[state[place], np.arange(is_changed.shape[1])]
        found[row] = flipped[row, state, lane]
        state ^= np.where(found[row], steps[row], 0)
    return [found[: len(change.costs), place] for change, place in zip(changes, places, strict=True)]
