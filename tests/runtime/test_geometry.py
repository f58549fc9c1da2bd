"""How blocks are shared out over threads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.geometry import Area, share_threads

sides = st.integers(1, 64)
blocks = st.lists(st.builds(lambda h, w: Area(0, 0, h, w), sides, sides), max_size=20)


@given(blocks, st.integers(1, 64))
def test_no_more_threads_are_used_than_there_are(found, threads):
    at_once, each = share_threads(found, threads)
    assert at_once >= 1 and each >= 1 and at_once * each <= threads
    assert at_once <= max(1, len(found))


@pytest.mark.parametrize(
    ("width", "height", "threads", "expected"),
    [
        (48, 32, 2, (1, 2)),  # one block: all threads in each layer
        (80, 45, 2, (1, 2)),  # 64 and 16 columns: one would wait for the other
        (100, 75, 2, (2, 1)),
        (120, 68, 8, (2, 4)),  # two large ones and two slivers
        (250, 188, 8, (6, 1)),
    ],
)
def test_pictures_keep_threads_busy(width, height, threads, expected):
    assert share_threads(list(Area(0, 0, height, width).split(64)), threads) == expected
