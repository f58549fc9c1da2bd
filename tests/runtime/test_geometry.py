"""Areas, windows with halos, and how windows are shared out over threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.geometry import CELL, Area, cells_of, in_parallel, run_with_halo, share_threads, window_size

sides = st.integers(1, 64)
window_lists = st.lists(st.builds(lambda height, width: Area(0, 0, height, width), sides, sides), max_size=20)


@st.composite
def areas(draw, least=-20, most=20):
    """Areas with at least one cell."""
    top, left = draw(st.integers(least, most)), draw(st.integers(least, most))
    return Area(top, left, top + draw(st.integers(1, most)), left + draw(st.integers(1, most)))


def cells_in(area):
    return {(row, column) for row in range(area.top, area.bottom) for column in range(area.left, area.right)}


@given(areas(), areas())
def test_the_intersection_holds_the_cells_of_both_areas(a, b):
    common = cells_in(a) & cells_in(b)
    assert cells_in(a.intersection(b)) == common
    assert a.overlaps(b) == b.overlaps(a) == bool(common)


@given(areas(), st.data())
def test_slices_give_the_cells_of_an_area_in_an_array_of_another(outer, data):
    rows = sorted(data.draw(st.tuples(*[st.integers(outer.top, outer.bottom)] * 2)))
    columns = sorted(data.draw(st.tuples(*[st.integers(outer.left, outer.right)] * 2)))
    inner = Area(rows[0], columns[0], rows[1], columns[1])
    places = np.mgrid[outer.top : outer.bottom, outer.left : outer.right]
    inside = places[(slice(None), *inner.slices_in(outer))]
    assert inside.shape[1:] == inner.shape
    assert set(zip(*inside.reshape(2, -1).tolist(), strict=True)) == cells_in(inner)


@given(areas(), areas(), st.integers(0, 9))
def test_a_padded_area_has_the_cells_within_a_margin_but_none_outside_the_limit(area, limit, margin):
    padded = cells_in(area.padded(margin, limit))
    assert padded == {
        (row, column)
        for row, column in cells_in(limit)
        if area.top - margin <= row < area.bottom + margin and area.left - margin <= column < area.right + margin
    }


@given(areas(), st.integers(1, 9))
def test_splitting_covers_every_cell_exactly_once_in_squares(area, size):
    pieces = list(area.split(size))
    cells = [cell for piece in pieces for cell in cells_in(piece)]
    assert len(cells) == len(set(cells)) and set(cells) == cells_in(area)
    assert pieces == sorted(pieces)  # row by row
    for piece in pieces:
        assert (piece.top - area.top) % size == (piece.left - area.left) % size == 0
        assert piece.shape[0] == min(size, area.bottom - piece.top)
        assert piece.shape[1] == min(size, area.right - piece.left)


@given(areas(), st.integers(1, 9))
def test_an_aligned_area_is_the_smallest_one_of_whole_squares_around_it(area, size):
    aligned = area.aligned(size)
    assert cells_in(area) <= cells_in(aligned)
    assert all(side % size == 0 for side in aligned)
    assert area.top - aligned.top < size and area.left - aligned.left < size
    assert aligned.bottom - area.bottom < size and aligned.right - area.right < size


@given(areas(), st.integers(1, 16))
def test_scaling_multiplies_all_sides(area, factor):
    scaled = area.scaled(factor)
    assert scaled.shape == (factor * area.shape[0], factor * area.shape[1])
    assert (scaled.top, scaled.left) == (factor * area.top, factor * area.left)


@given(st.integers(1, 500), st.integers(1, 500))
def test_the_cells_of_a_picture_cover_it_with_less_than_a_cell_too_many(height, width):
    cells = cells_of(height, width)
    rows, columns = cells.scaled(CELL).shape
    assert (cells.top, cells.left) == (0, 0)
    assert height <= rows < height + CELL and width <= columns < width + CELL


@given(st.sampled_from([4, 8, 16, 32, 64]), st.integers(1, 80))
def test_windows_are_whole_tiles(tile_size, largest):
    size = window_size(tile_size, largest)
    assert size % tile_size == 0
    assert size == tile_size or largest - tile_size < size <= largest


@given(areas(least=0), st.integers(1, 3), st.integers(1, 3), st.data())
def test_a_window_with_enough_halo_is_what_the_whole_array_gives(whole, scale_in, scale_out, data):
    window = data.draw(st.sampled_from(list(whole.split(data.draw(st.integers(1, 8))))))
    rows, columns = whole.shape
    array = np.random.default_rng(0).integers(0, 99, (2, scale_in * rows, scale_in * columns))

    def blur_and_scale(cells):
        """Sums over neighbouring cells, ``scale_out`` positions for each."""
        cells = cells[:, ::scale_in, ::scale_in]
        padded = np.pad(cells, ((0, 0), (1, 1), (1, 1)))
        sums = sum(padded[:, i : i + cells.shape[1], j : j + cells.shape[2]] for i in range(3) for j in range(3))
        return np.kron(sums, np.ones((1, scale_out, scale_out), int))

    part = run_with_halo(blur_and_scale, array, window, whole, halo=1)
    inside = window.scaled(scale_out).slices_in(whole.scaled(scale_out))
    assert np.array_equal(part, blur_and_scale(array)[(slice(None), *inside)])


@given(window_lists, st.integers(1, 64))
def test_no_more_threads_are_used_than_allowed(windows, threads):
    at_once, threads_each = share_threads(windows, threads)
    assert at_once >= 1 and threads_each >= 1 and at_once * threads_each <= threads
    assert at_once <= max(1, len(windows))


@pytest.mark.parametrize(
    ("width", "height", "threads", "expected"),
    [
        (48, 32, 2, (1, 2)),  # one window: all threads in each layer
        (80, 45, 2, (1, 2)),  # 64 and 16 columns: one would wait for the other
        (100, 75, 2, (2, 1)),
        (120, 68, 8, (2, 4)),  # two large ones and two slivers
        (250, 188, 8, (6, 1)),
    ],
)
def test_pictures_keep_threads_busy(width, height, threads, expected):
    assert share_threads(list(Area(0, 0, height, width).split(64)), threads) == expected


@pytest.mark.parametrize("threads", [1, 3])
def test_parallel_work_gives_its_results_in_order(threads):
    assert in_parallel(lambda item: item * item, range(20), threads) == [item * item for item in range(20)]
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda item: 1 // item, range(3), threads)
