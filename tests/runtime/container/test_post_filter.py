"""A packed post-filter: unpacking is the inverse of packing, and any bytes are a filter or one error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.container.nic import MAX_POST_FILTER
from codec.container.nicm import MAX_FILTERS
from codec.container.post_filter import EXPONENT_BITS, MAX_COEFFICIENT, pack, unpack
from codec.errors import FormatError

coefficient_lists = st.lists(st.integers(-MAX_COEFFICIENT, MAX_COEFFICIENT), max_size=MAX_FILTERS)


@given(st.integers(0, 2**EXPONENT_BITS - 1), coefficient_lists)
def test_unpacking_is_the_inverse_of_packing(exponent, coefficients):
    packed = pack(exponent, np.array(coefficients, int))
    assert len(packed) <= MAX_POST_FILTER
    unpacked_exponent, unpacked = unpack(packed, len(coefficients))
    assert (unpacked_exponent, unpacked.tolist()) == (exponent, coefficients)


@given(st.integers(0, 2**EXPONENT_BITS - 1), coefficient_lists, st.integers(0, 20))
def test_zeros_at_the_end_cost_nothing(exponent, coefficients, zeros):
    assert pack(exponent, np.array(coefficients + [0] * zeros, int)) == pack(exponent, np.array(coefficients, int))


@given(st.binary(min_size=1, max_size=40))
def test_any_bytes_are_a_filter_or_a_format_error(data):
    try:
        exponent, coefficients = unpack(data, 20)
    except FormatError as error:
        assert "\n" not in str(error)
    else:
        assert 0 <= exponent < 2**EXPONENT_BITS and len(coefficients) == 20
        assert np.abs(coefficients).max() <= MAX_COEFFICIENT
        assert len(pack(exponent, coefficients)) <= len(data)


@pytest.mark.parametrize("data", [b"\x00" * 9, b"\x0f" + b"\xff" * 40, b"\x00\x00\x01\xff\xff"])
def test_a_filter_that_a_model_cannot_have_is_refused(data):
    with pytest.raises(FormatError, match="post-filter"):
        unpack(data, 20)
