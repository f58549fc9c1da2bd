"""Syndrome-trellis codes: flips of carriers that change a message at the least cost."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codec.encoding.syndrome_trellis import Change, cheapest_flips
from codec.entropy.hidden_signs import message


@st.composite
def codes(draw):
    """Ends of the message bits, a number of lanes, and a random generator."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=30))
    return np.cumsum(sizes), draw(st.integers(1, 5)), np.random.default_rng(draw(st.integers(0, 2**32)))


def random_change(ends, lanes, rng):
    shape = (len(ends), lanes)
    return Change(rng.exponential(5.0, (ends[-1], lanes)), ends, rng.integers(0, 2, shape), rng.random(shape) < 0.3)


@given(codes())
def test_flips_change_the_bits_that_must_change_and_no_other_that_is_not_free(code):
    ends, lanes, rng = code
    parities = rng.integers(0, 2, (ends[-1], lanes))
    change = random_change(ends, lanes, rng)
    (flips,) = cheapest_flips([change])
    changed = message(parities ^ flips, ends) ^ message(parities, ends)
    assert np.array_equal(changed[~change.is_free], change.must_change[~change.is_free])


@given(st.integers(0, 2**32))
def test_no_other_flips_are_cheaper(seed):
    rng = np.random.default_rng(seed)
    ends, costs = np.array([4, 6, 7, 10]), np.round(rng.exponential(4.0, (10, 1)) * 4).clip(max=60) / 4
    must_change = rng.integers(0, 2, (4, 1))
    (flips,) = cheapest_flips([Change(costs, ends, must_change, np.zeros((4, 1), bool))])
    all_flips = np.array(list(itertools.product((0, 1), repeat=10))).T  # (10, 1024): one lane for each set of flips
    is_valid = (message(all_flips, ends) == must_change).all(axis=0)
    assert costs[flips].sum() == (costs * all_flips).sum(axis=0)[is_valid].min()


def test_nothing_is_flipped_where_nothing_must_change():
    ends = np.arange(3, 300, 3)
    zeros = np.zeros((len(ends), 7), np.uint8)
    costs = np.ones((ends[-1], 7))
    nothing_changes, all_are_free = Change(costs, ends, zeros, zeros == 1), Change(costs, ends, zeros + 1, zeros == 0)
    for change in (nothing_changes, all_are_free):
        assert not cheapest_flips([change])[0].any()


@given(st.lists(codes(), max_size=4))
def test_changes_side_by_side_give_the_flips_of_each_alone(drawn):
    changes = [random_change(*code) for code in drawn]
    together = cheapest_flips(changes)
    assert all(
        np.array_equal(cheapest_flips([change])[0], flips) for change, flips in zip(changes, together, strict=True)
    )
