"""The encoder of syndrome-trellis codes (Filler, Judas, Fridrich 2011): the cheapest flips that change a message.

Carriers stand in rows, side by side in lanes, each with a code of its own. The Viterbi algorithm runs over the rows;
its state holds the ``CONSTRAINT_HEIGHT`` message bits that are still open. A decoder needs only
``codec.entropy.hidden_signs.message``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from codec.entropy.hidden_signs import CONSTRAINT_HEIGHT, parity_columns

COST_UNITS, MAX_COST = 64, 20.0
"""Costs are counted in 64ths and clipped at 20: sums of a few of them fit in 16 bits, which is twice as fast as 32."""
_UNREACHABLE = np.int16(31_000)
"""The cost of a state that no path reaches; reachable states lie a few flips apart."""


class Change(NamedTuple):
    """A change of the message: G bits in each of L lanes, given by T rows of carriers."""

    costs: np.ndarray  # (T, L): of flipping each carrier, at least 0
    ends: np.ndarray  # (G,): as for ``codec.entropy.hidden_signs.message``
    must_change: np.ndarray  # (G, L), 0 or 1: which message bits are to change
    is_free: np.ndarray  # (G, L), bool: which may change or not


def cheapest_flips(changes: Sequence[Change]) -> list[np.ndarray]:
    """For each of ``changes`` the cheapest set of carriers (T, L), bool, whose flips make it.

    The lanes of all changes stand side by side: the work of a row is so small that several take hardly longer than one.
    """
    lane_ends = np.cumsum([0, *(change.costs.shape[1] for change in changes)])
    lanes = [slice(start, end) for start, end in zip(lane_ends[:-1], lane_ends[1:], strict=True)]
    lane_count = lane_ends[-1]
    rows = max((len(change.costs) for change in changes), default=0)
    costs = np.full((rows, lane_count), MAX_COST * COST_UNITS, np.int16)  # below a lane's end no flip can pay
    ending: list[list[tuple[Change, slice, int]]] = [[] for _ in range(rows)]  # the message bits that end at each row
    for change, lane in zip(changes, lanes, strict=True):
        costs[: len(change.costs), lane] = np.rint(change.costs.clip(max=MAX_COST) * COST_UNITS)
        for bit, end in enumerate(change.ends.tolist()):
            ending[end - 1].append((change, lane, bit))
    states = np.arange(1 << CONSTRAINT_HEIGHT)
    half = len(states) // 2
    # The least cost of each state (the changes of the open message bits) in each lane.
    least = np.full((len(states), lane_count), _UNREACHABLE)
    least[0] = 0
    flipped = np.empty((rows, *least.shape), bool)
    decisions: list[np.ndarray] = []  # for each message bit in turn, (states / 2, lanes): whether it has changed
    columns = parity_columns(rows).astype(np.int64)
    with_flip = np.empty_like(least)
    for row, bits in enumerate(ending):
        np.take(least, states ^ columns[row], axis=0, out=with_flip, mode="clip")
        with_flip += costs[row]
        np.less(with_flip, least, out=flipped[row])
        np.minimum(with_flip, least, out=least)
        for change, lane, bit in bits:
            same, changed = least[0::2, lane], least[1::2, lane]
            is_changed = np.where(change.is_free[bit], changed < same, change.must_change[bit] != 0)
            cost = np.where(is_changed, changed, same)
            least[:half, lane] = cost - cost.min(axis=0)
            least[half:, lane] = _UNREACHABLE
            decisions.append(is_changed)
    chosen = _trace_back(least.argmin(axis=0), flipped, columns, ending, decisions)
    return [chosen[: len(change.costs), lane] for change, lane in zip(changes, lanes, strict=True)]


def _trace_back(
    state: np.ndarray,
    flipped: np.ndarray,
    columns: np.ndarray,
    ending: list[list[tuple[Change, slice, int]]],
    decisions: list[np.ndarray],
) -> np.ndarray:
    """The flips (T, L) on the cheapest path that ends in ``state`` (L,), followed from the last row to the first."""
    all_lanes = np.arange(len(state))
    chosen = np.empty((len(flipped), len(state)), bool)
    for row in reversed(range(len(flipped))):
        for _, lane, _ in reversed(ending[row]):
            is_changed = decisions.pop()
            state[lane] = state[lane] << 1 | is_changed[state[lane], np.arange(is_changed.shape[1])]
        chosen[row] = flipped[row, state, all_lanes]
        state ^= np.where(chosen[row], columns[row], 0)
    return chosen
