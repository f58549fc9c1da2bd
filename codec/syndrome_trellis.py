"""Syndrome-trellis codes (Filler, Judas, Fridrich 2011): bits said by sums of other bits, changed at the least cost.

Carriers stand in rows, side by side in lanes; each lane has a code of its own. A lane's message is a product of a
banded binary matrix and its carriers' bits. Who reads it needs that product alone; who writes looks for the cheapest
carriers to flip, by the Viterbi algorithm over the ``HEIGHT`` message bits that are still open.
"""

from __future__ import annotations

import numpy as np

HEIGHT = 8
"""Message bits that a carrier takes part in: the columns of the matrix are bytes."""
UNITS, DEAREST = 64, 20.0
"""Costs are counted in 64ths, up to 20: sums of a few of them fit in 16 bits, which takes half the time of 32."""
_FAR = np.int16(31_000)
"""What a state costs that is not reached. Those that are lie a few flips apart."""


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


def flips(costs: np.ndarray, ends: np.ndarray, change: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The cheapest set of carriers (T, L), bool, whose flips change the message by ``change``.

    Args:
        costs: (T, L), of flipping each carrier, at least 0; those above ``DEAREST`` count as that.
        ends: (G,), as for ``message``.
        change: (G, L), 0 or 1: which message bits are to change.
        free: (G, L), bool: which may change or not.
    """
    rows, lanes = costs.shape
    costs = np.rint(costs.clip(max=DEAREST) * UNITS).astype(np.int16)
    states, lane = np.arange(1 << HEIGHT), np.arange(lanes)
    # For each state, the next HEIGHT message bits as changed so far, and each lane: the least cost of getting there.
    least = np.full((len(states), lanes), _FAR)
    least[0] = 0
    flipped = np.empty((rows, len(states), lanes), bool)
    settled = np.empty((len(ends), len(states) // 2, lanes), bool)
    steps = columns(rows).astype(np.int64)
    other = np.empty_like(least)
    group = 0
    for row in range(rows):
        np.take(least, states ^ steps[row], axis=0, out=other, mode="clip")
        other += costs[row]
        np.less(other, least, out=flipped[row])
        np.minimum(other, least, out=least)
        if row + 1 == ends[group]:
            same, changed = least[0::2], least[1::2]
            settled[group] = np.where(free[group], changed < same, change[group] != 0)
            least[: len(states) // 2] = np.where(settled[group], changed, same)
            least -= least[: len(states) // 2].min(axis=0)
            least[len(states) // 2 :] = _FAR
            group += 1
    found = np.empty((rows, lanes), bool)
    state = least.argmin(axis=0)
    for row in reversed(range(rows)):
        if group and row + 1 == ends[group - 1]:
            group -= 1
            state = state << 1 | settled[group, state, lane]
        found[row] = flipped[row, state, lane]
        state ^= np.where(found[row], steps[row], 0)
    return found
