"""Range coding: round trips, lengths close to the ideal, and streams of any bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.entropy.range_coder import RangeDecoder, RangeEncoder, Table, table_from_probabilities
from codec.errors import FormatError, ModelError

TABLES = [table_from_probabilities(np.array([0.1] * (2 * radius + 1) + [1e-5])) for radius in (1, 2, 40)]


@given(st.lists(st.tuples(st.integers(-32767, 32767) | st.integers(-3, 3), st.integers(0, 2)), max_size=600))
def test_decoding_gives_back_what_was_encoded(pairs):
    values = np.array([value for value, _ in pairs], np.int32)
    indices = np.array([index for _, index in pairs], np.int64)
    encoder = RangeEncoder()
    encoder.encode(values, indices, TABLES)
    encoder.encode(values[::-1], indices[::-1], TABLES)
    decoder = RangeDecoder(encoder.finish())
    assert np.array_equal(decoder.decode(indices, TABLES), values)
    assert np.array_equal(decoder.decode(indices[::-1], TABLES), values[::-1])
    decoder.finish()


def test_the_stream_is_within_half_a_percent_of_the_ideal_length():
    rng = np.random.default_rng(1)
    values = rng.integers(-40, 41, 20000).astype(np.int32)
    encoder = RangeEncoder()
    encoder.encode(values, np.full(values.size, 2), TABLES)
    assert len(encoder.finish()) * 8 <= TABLES[2].code_lengths(values).sum() * 1.005


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_raise_a_format_error(data):
    try:
        decoder = RangeDecoder(data)
        values = decoder.decode(np.arange(50) % 3, TABLES)
        decoder.finish()
    except FormatError:
        return
    assert values.shape == (50,)


@pytest.mark.parametrize("frequencies", [[1, 1, 1, 1], [65536, 0, 0, 0], [65534, 1, 1]])
def test_a_table_that_is_not_a_distribution_is_a_model_error(frequencies):
    with pytest.raises(ModelError):
        Table(np.array(frequencies))
