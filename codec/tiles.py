"""The geometry of tiles and blocks, and running a transform over a block with a halo so that no seam shows.

A cell is the square of pixels that belongs to one latent. Tiles are what the entropy coder takes apart;
blocks, of one or more tiles, are what a transform is run on.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

CELL = 16
"""Pixels on a side of a cell."""
SPEED_UP = 0.5
"""Two threads were measured to be 1.4 to 1.5 times as fast as one."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class Area(NamedTuple):
    """A rectangle of cells: rows top to bottom, columns left to right, the ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def within(self, other: Area) -> tuple[slice, slice]:
        """As indices into an array that holds ``other``."""
        return slice(self.top - other.top, self.bottom - other.top), slice(
            self.left - other.left, self.right - other.left
        )

    def grown(self, margin: int, limit: Area) -> Area:
        """With ``margin`` cells more on every side, as far as ``limit`` goes."""
        wider = Area(self.top - margin, self.left - margin, self.bottom + margin, self.right + margin)
        return wider.common(limit)

    def common(self, other: Area) -> Area:
        """What lies in both; a side is not positive when there is nothing."""
        return Area(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def times(self, factor: int) -> Area:
        """The same rectangle in units of a ``factor``-th."""
        return Area(*(factor * side for side in self))

    def aligned(self, size: int) -> Area:
        """The smallest rectangle around it of whole squares of ``size``, which begin at row and column 0."""
        return Area(*(side // size * size for side in self[:2]), *(-(-side // size) * size for side in self[2:]))

    def divided(self, size: int) -> Iterator[Area]:
        """Squares of ``size``, row by row; those at the right and bottom may be smaller."""
        for top in range(self.top, self.bottom, size):
            for left in range(self.left, self.right, size):
                yield Area(top, left, min(top + size, self.bottom), min(left + size, self.right))


def block_size(tile_size: int, wanted: int) -> int:
    """Cells on a side of a block: a whole tile, or several of those that are small, up to ``wanted`` cells.

    Larger blocks waste less on halos, smaller ones need less memory and keep more threads busy.
    """
    return max(tile_size, wanted // tile_size * tile_size)


def overlap(a: Area, b: Area) -> bool:
    """Whether two areas have a cell in common."""
    return min(a.common(b).shape) > 0


def cells_of(height: int, width: int) -> Area:
    """The cells of a picture of ``height`` x ``width`` pixels."""
    return Area(0, 0, -(-height // CELL), -(-width // CELL))


def run_with_halo(
    transform: Callable[[np.ndarray], np.ndarray], array: np.ndarray, block: Area, whole: Area, halo: int
) -> np.ndarray:
    """``transform`` of what ``array`` (C, H, W) holds for ``block``, computed with ``halo`` cells around it.

    ``array`` holds the area ``whole``; it and the result have an integer number of positions for each cell.
    """
    outer = block.grown(halo, whole)
    scale_in = array.shape[1] // whole.shape[0]
    rows, columns = outer.times(scale_in).within(whole.times(scale_in))
    result = transform(array[:, rows, columns])
    scale_out = result.shape[1] // outer.shape[0]
    rows, columns = block.times(scale_out).within(outer.times(scale_out))
    return result[:, rows, columns]


def shared_threads(blocks: Sequence[Area], threads: int) -> tuple[int, int]:
    """How many of ``blocks`` to work on at once, and on how many threads each, to be done first.

    A block on one thread takes as long as it is large; on n, a ``SPEED_UP``-th power of n less.
    """

    def seconds(at_once: int) -> float:
        busy = [0] * at_once
        for block in blocks:  # in turn, each by whoever is free
            heapq.heapreplace(busy, busy[0] + block.shape[0] * block.shape[1])
        return max(busy) / (threads // at_once) ** SPEED_UP

    at_once = min(range(1, max(1, min(threads, len(blocks))) + 1), key=seconds)
    return at_once, threads // at_once


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> list[Result]:
    """``work`` of each item, in their order, on ``threads`` threads."""
    items = list(items)
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))
