"""Messages that are sums of bits, changed at the least cost."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codec.encode.syndrome_trellis import Change, cheapest_flips
from codec.entropy.hidden_signs import CONSTRAINT_HEIGHT, message, parity_columns


@st.composite
def codes(draw):
    """Ends of the message bits, lanes, and a generator of the rest."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=30))
    return np.cumsum(sizes), draw(st.integers(1, 5)), np.random.default_rng(draw(st.integers(0, 2**32)))


@given(codes())
def test_flips_change_what_is_asked_for_and_nothing_else(code):
    ends, lanes, rng = code
    shape, bits_shape = (ends[-1], lanes), (len(ends), lanes)
    bits = rng.integers(0, 2, shape)
    change, free = rng.integers(0, 2, bits_shape), rng.random(bits_shape) < 0.3
    (found,) = cheapest_flips([Change(rng.exponential(5.0, shape), ends, change, free)])
    changed = message(bits ^ found, ends) ^ message(bits, ends)
    assert np.array_equal(changed[~free], change[~free])


@given(codes())
def test_a_bit_is_the_sum_of_the_carriers_that_have_a_part_in_it(code):
    ends, lanes, rng = code
    bits = rng.integers(0, 2, (ends[-1], lanes))
    expected = np.zeros((len(ends) + CONSTRAINT_HEIGHT, lanes), np.int64)
    for row, column in enumerate(parity_columns(len(bits)).tolist()):
        group = int(np.searchsorted(ends, row, side="right"))
        for i in range(CONSTRAINT_HEIGHT):
            expected[group + i] += (column >> i & 1) * bits[row]
    assert np.array_equal(message(bits, ends), expected[: len(ends)] % 2)


@given(st.integers(0, 2**32))
def test_flips_are_the_cheapest(seed):
    rng = np.random.default_rng(seed)
    ends, costs = np.array([4, 6, 7, 10]), np.round(rng.exponential(4.0, (10, 1)) * 4).clip(max=60) / 4
    change = rng.integers(0, 2, (4, 1))
    (found,) = cheapest_flips([Change(costs, ends, change, np.zeros((4, 1), bool))])
    every = np.array(
        list(itertools.product((0, 1), repeat=10))
    ).T  # (10, 1024): one lane for each set of cheapest_flips
    right = (message(every, ends) == change).all(axis=0)
    assert costs[found].sum() == (costs * every).sum(axis=0)[right].min()


def test_nothing_is_flipped_where_nothing_is_to_change():
    ends = np.arange(3, 300, 3)
    no = np.zeros((len(ends), 7), np.uint8)
    for nothing in (
        Change(np.ones((ends[-1], 7)), ends, no, no == 1),
        Change(np.ones((ends[-1], 7)), ends, no + 1, no == 0),
    ):
        assert not cheapest_flips([nothing])[0].any()


@given(st.lists(codes(), max_size=4))
def test_changes_side_by_side_are_made_as_each_alone(found):
    changes = []
    for ends, lanes, rng in found:
        wanted, free = rng.integers(0, 2, (len(ends), lanes)), rng.random((len(ends), lanes)) < 0.3
        changes.append(Change(rng.exponential(5.0, (ends[-1], lanes)), ends, wanted, free))
    together = cheapest_flips(changes)
    assert all(
        np.array_equal(cheapest_flips([change])[0], flipped) for change, flipped in zip(changes, together, strict=True)
    )
