"""Areas of a picture, and how transforms run over them: windows, halos, threads.

A cell is the 16x16 pixels that belong to one position of the latents. A tile is what the entropy coder codes on its
own. A window is an area that a transform runs on at once: whole tiles in the encoder, any cells in the decoder.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

CELL = 16
"""Pixels on a side of a cell."""
THREAD_SPEEDUP_EXPONENT = 0.5
"""A transform on n threads is about n ** 0.5 times as fast (measured on two: 1.4 to 1.5 times)."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class Area(NamedTuple):
    """A rectangle, usually in cells; ``bottom`` and ``right`` are excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def slices_in(self, other: Area) -> tuple[slice, slice]:
        """Row and column slices of this area in an array that covers ``other``."""
        return slice(self.top - other.top, self.bottom - other.top), slice(
            self.left - other.left, self.right - other.left
        )

    def intersection(self, other: Area) -> Area:
        """The common part; where there is none, a side is zero or negative."""
        return Area(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def overlaps(self, other: Area) -> bool:
        """Whether the two areas have a cell in common."""
        return min(self.intersection(other).shape) > 0

    def padded(self, margin: int, limit: Area) -> Area:
        """The area with ``margin`` more on every side, cut to ``limit``."""
        wider = Area(self.top - margin, self.left - margin, self.bottom + margin, self.right + margin)
        return wider.intersection(limit)

    def scaled(self, factor: int) -> Area:
        """The same rectangle in units ``factor`` times smaller: ``cells.scaled(CELL)`` is in pixels."""
        return Area(*(factor * side for side in self))

    def aligned(self, size: int) -> Area:
        """The smallest enclosing area whose sides are multiples of ``size``."""
        return Area(*(side // size * size for side in self[:2]), *(-(-side // size) * size for side in self[2:]))

    def split(self, size: int) -> Iterator[Area]:
        """Squares of ``size``, row by row; the last ones of a row or column may be smaller."""
        for top in range(self.top, self.bottom, size):
            for left in range(self.left, self.right, size):
                yield Area(top, left, min(top + size, self.bottom), min(left + size, self.right))


def cells_of(height: int, width: int) -> Area:
    """The cells of a picture of ``height`` x ``width`` pixels."""
    return Area(0, 0, -(-height // CELL), -(-width // CELL))


def pixels_of(cells: Area, height: int, width: int) -> Area:
    """The pixels of ``cells``, as far as a picture of ``height`` x ``width`` pixels goes."""
    return cells.scaled(CELL).intersection(Area(0, 0, height, width))


def window_size(tile_size: int, largest: int) -> int:
    """Cells on a side of a window: a multiple of ``tile_size``, up to ``largest`` where tiles are smaller than that.

    Larger windows spend less on halos; smaller ones need less memory and keep more threads busy.
    """
    return max(tile_size, largest // tile_size * tile_size)


def run_with_halo(
    transform: Callable[[np.ndarray], np.ndarray], array: np.ndarray, window: Area, whole: Area, halo: int
) -> np.ndarray:
    """``transform`` of the part of ``array`` (C, H, W) that ``window`` covers, computed with ``halo`` cells around it.

    ``array`` covers the area ``whole``; array and result have an integer number of positions for each cell.
    """
    outer = window.padded(halo, whole)
    scale_in = array.shape[1] // whole.shape[0]
    rows, columns = outer.scaled(scale_in).slices_in(whole.scaled(scale_in))
    result = transform(array[:, rows, columns])
    scale_out = result.shape[1] // outer.shape[0]
    rows, columns = window.scaled(scale_out).slices_in(outer.scaled(scale_out))
    return result[:, rows, columns]


def share_threads(windows: Sequence[Area], threads: int) -> tuple[int, int]:
    """How many windows to work on at once, and on how many threads each, so that all are done soonest."""

    def seconds(at_once: int) -> float:
        busy_until = [0] * at_once
        for window in windows:  # in turn, each by the worker that is free first
            heapq.heapreplace(busy_until, busy_until[0] + window.shape[0] * window.shape[1])
        return max(busy_until) / (threads // at_once) ** THREAD_SPEEDUP_EXPONENT

    at_once = min(range(1, max(1, min(threads, len(windows))) + 1), key=seconds)
    return at_once, threads // at_once


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> list[Result]:
    """``work`` of each item, in their order, on ``threads`` threads."""
    items = list(items)
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))
