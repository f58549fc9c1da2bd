"""Codebooks of vector-quantised models: the order of vectors, coded indices, and values that are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.entropy.codebook import Codebook, from_vectors, to_vectors, vector_classes
from codec.entropy.constants import SCALE_LEVELS, VECTOR_CLASSES
from codec.entropy.range_coder import RangeDecoder, RangeEncoder, table_from_probabilities
from codec.errors import FormatError, ModelError

CODEWORDS, LENGTH = 6, 4


def codebook_values(**changes):
    """A codebook as a model file holds it."""
    rng = np.random.default_rng(0)
    row = table_from_probabilities(np.array([0.5] + [0.1] * (CODEWORDS - 1) + [1e-9] * 2)).frequencies.tolist()
    values = {
        "codewords": rng.integers(-40, 41, (CODEWORDS, LENGTH)).tolist(),
        "tables": [row] * VECTOR_CLASSES,
        "rate_weight": 0.1,
    }
    return {**values, **changes}


@given(st.integers(1, 3), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**31))
def test_an_array_comes_back_from_its_vectors(groups, height, width, seed):
    array = np.random.default_rng(seed).normal(size=(groups * LENGTH, height, width))
    vectors = to_vectors(array, LENGTH)
    assert vectors.shape == (groups * height * width, LENGTH)
    assert np.array_equal(from_vectors(vectors, array.shape), array)
    if vectors.size:
        assert np.array_equal(vectors[0], array[:LENGTH, 0, 0])


def test_the_classes_cover_all_scales():
    levels = np.repeat(np.arange(SCALE_LEVELS)[:, None], LENGTH, axis=1)
    assert set(vector_classes(levels)) == set(range(VECTOR_CLASSES))


@pytest.mark.parametrize(
    "changes",
    [
        {"codewords": [[1, 2, 3, 4]]},
        {"codewords": [[0] * 99] * CODEWORDS},
        {"codewords": [[1 << 40] * LENGTH] * CODEWORDS},
        {"codewords": [0] * CODEWORDS},
        {"tables": codebook_values()["tables"][1:]},
        {"tables": [[1, 65533, 1, 1]] * VECTOR_CLASSES},
        {"rate_weight": -1},
        {"rate_weight": float("nan")},
    ],
)
def test_a_codebook_with_values_out_of_range_is_a_model_error(changes):
    with pytest.raises(ModelError):
        Codebook.from_json(codebook_values(**changes))


def test_an_index_beyond_the_codebook_is_a_format_error():
    codebook = Codebook.from_json(codebook_values())
    encoder = RangeEncoder()
    radius = codebook.tables[0].radius
    encoder.encode(np.array([radius], np.int32), np.zeros(1, np.int64), codebook.tables)
    with pytest.raises(FormatError, match="codeword"):
        codebook.decode(RangeDecoder(encoder.finish()), np.zeros((1, LENGTH), np.int64))
