"""The decoder's side of hidden signs: the layout, the tables, and streams of any bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.entropy.constants import SCALE_LEVELS
from codec.entropy.hidden_signs import CONSTRAINT_HEIGHT, HiddenSigns, message, parity_columns
from codec.entropy.range_coder import RangeDecoder
from codec.errors import FormatError


@pytest.fixture(scope="module")
def signs(filtered):
    return filtered.model.hidden_signs


def scale_indices_around(level, count, seed, spread=6):
    rng = np.random.default_rng(seed)
    return rng.normal(level, spread, count).round().clip(0, SCALE_LEVELS - 1).astype(np.int64)


def test_the_scale_indices_alone_say_where_signs_are_hidden(signs):
    scale_indices = scale_indices_around(20, 5000, seed=2)
    first, second = (signs.layout(scale_indices) for _ in range(2))
    assert all(np.array_equal(getattr(first, name), getattr(second, name)) for name in ("carriers", "ends", "signless"))
    carriers = first.carriers.ravel()
    assert len(set(carriers.tolist())) == len(carriers)
    assert scale_indices[first.signless].min() >= np.median(scale_indices[carriers])
    assert first.ends[-1] == len(first.carriers) and (np.diff(first.ends) > 0).all()
    assert first.signless.shape == (len(first.ends), first.carriers.shape[1])


@pytest.mark.parametrize("scale_indices", [np.zeros(0, np.int64), np.full(3, 40), np.zeros(5000, np.int64)])
def test_few_or_certain_symbols_hide_nothing(signs, scale_indices):
    assert signs.layout(scale_indices) is None


@given(st.data())
def test_a_message_bit_is_the_parity_of_the_carriers_that_take_part_in_it(data):
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=30))
    ends, lanes = np.cumsum(sizes), data.draw(st.integers(1, 5))
    parities = np.random.default_rng(data.draw(st.integers(0, 2**32))).integers(0, 2, (ends[-1], lanes))
    expected = np.zeros((len(ends) + CONSTRAINT_HEIGHT, lanes), np.int64)
    for row, column in enumerate(parity_columns(len(parities)).tolist()):
        group = int(np.searchsorted(ends, row, side="right"))
        for i in range(CONSTRAINT_HEIGHT):
            expected[group + i] += (column >> i & 1) * parities[row]
    assert np.array_equal(message(parities, ends), expected[: len(ends)] % 2)


@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_any_bytes_decode_or_raise_a_format_error(filtered, data, seed):
    scale_indices = scale_indices_around(20, 800, seed)
    try:
        decoder = RangeDecoder(data)
        symbols = filtered.model.hidden_signs.decode(decoder, scale_indices)
        decoder.finish()
    except FormatError:
        return
    assert symbols.shape == (800,)


def test_magnitudes_have_the_probability_of_the_two_signs_together(filtered):
    scale_tables = filtered.model.scale_tables
    folded_tables = HiddenSigns(scale_tables).tables[SCALE_LEVELS:]
    for table, folded in zip(scale_tables, folded_tables, strict=True):
        values = np.arange(1, table.radius + 1)
        assert folded.radius == table.radius and folded.least == 0
        sums = 2.0 ** -table.code_lengths(values) + 2.0 ** -table.code_lengths(-values)
        assert np.allclose(2.0 ** -folded.code_lengths(values), sums)
        edges = np.array([0, table.radius + 1])
        assert np.allclose(folded.code_lengths(edges), table.code_lengths(edges))
