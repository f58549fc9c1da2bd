"""Running a transform over a large array in tiles with a halo, so that memory is bounded and no seam shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np


def tile_slices(height: int, width: int, size: int) -> Iterator[tuple[slice, slice]]:
    """The tiles of an array, row by row; those at the right and bottom may be smaller."""
    for top in range(0, height, size):
        for left in range(0, width, size):
            yield slice(top, min(top + size, height)), slice(left, min(left + size, width))


def run_tiled(
    transform: Callable[[np.ndarray], np.ndarray],
    array: np.ndarray,
    out: np.ndarray,
    *,
    cells: tuple[int, int],
    size: int,
    halo: int,
) -> None:
    """Fill ``out`` (C2, H2, W2) with ``transform`` of ``array`` (C1, H1, W1), tile by tile.

    Both arrays are divided into the same ``cells`` (rows, columns): a cell is an integer number of
    positions on a side in either. ``size`` and ``halo`` count cells.
    """
    scale_in, scale_out = array.shape[1] // cells[0], out.shape[1] // cells[0]
    for rows, columns in tile_slices(*cells, size):
        top, left = max(0, rows.start - halo), max(0, columns.start - halo)
        bottom, right = min(cells[0], rows.stop + halo), min(cells[1], columns.stop + halo)
        part = array[:, top * scale_in : bottom * scale_in, left * scale_in : right * scale_in]
        result = transform(part)
        inner_top, inner_left = (rows.start - top) * scale_out, (columns.start - left) * scale_out
        tall, wide = (rows.stop - rows.start) * scale_out, (columns.stop - columns.start) * scale_out
        target = out[:, rows.start * scale_out :, columns.start * scale_out :][:, :tall, :wide]
        target[...] = result[:, inner_top : inner_top + tall, inner_left : inner_left + wide]
