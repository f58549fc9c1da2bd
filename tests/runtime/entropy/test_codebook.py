import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.entropy.codebook import Codebook, from_vectors, to_vectors, vector_classes
from codec.entropy.constants import SCALE_LEVELS, VECTOR_CLASSES
from codec.entropy.range_coder import RangeDecoder, RangeEncoder, table_from_probabilities
from codec.errors import FormatError

WORDS, LENGTH = 6, 4


def made(**changes):
    rng = np.random.default_rng(0)
    row = table_from_probabilities(np.array([0.5] + [0.1] * (WORDS - 1) + [1e-9] * 2)).frequencies.tolist()
    values = {
        "codewords": rng.integers(-40, 41, (WORDS, LENGTH)).tolist(),
        "tables": [row] * VECTOR_CLASSES,
        "rate_weight": 0.1,
    }
    return {**values, **changes}


@given(st.integers(1, 3), st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**31))
def test_vectors_come_back_as_blocks(groups, height, width, seed):
    block = np.random.default_rng(seed).normal(size=(groups * LENGTH, height, width))
    vectors = to_vectors(block, LENGTH)
    assert vectors.shape == (groups * height * width, LENGTH)
    assert np.array_equal(from_vectors(vectors, block.shape), block)
    if vectors.size:
        assert np.array_equal(vectors[0], block[:LENGTH, 0, 0])


@given(st.integers(0, 300), st.integers(0, 2**31))
def test_decoding_gives_the_codewords_that_were_chosen(count, seed):
    rng = np.random.default_rng(seed)
    book = Codebook.from_json(made())
    residuals = rng.normal(0, 40, (count, LENGTH)).astype(np.float32)
    indices = rng.integers(0, SCALE_LEVELS, (count, LENGTH))
    encoder = RangeEncoder()
    chosen = book.encode(encoder, residuals, indices)
    decoder = RangeDecoder(encoder.finish())
    assert np.array_equal(book.decode(decoder, indices), chosen)
    decoder.finish()


def test_the_nearest_codeword_is_chosen_where_bits_weigh_nothing():
    book = Codebook.from_json(made(rate_weight=0))
    x = np.random.default_rng(1).normal(0, 40, (500, LENGTH)).astype(np.float32)
    x[0] = np.nan  # a broken analysis still gives a file
    found = book.encode(RangeEncoder(), x, np.zeros((500, LENGTH), np.int64))
    distances = ((np.nan_to_num(x)[:, None] - book.codewords) ** 2).sum(2)
    assert np.array_equal(found, book.codewords[distances.argmin(1)])


def test_classes_cover_all_scales():
    levels = np.repeat(np.arange(SCALE_LEVELS)[:, None], LENGTH, axis=1)
    assert set(vector_classes(levels)) == set(range(VECTOR_CLASSES))


@pytest.mark.parametrize(
    "changes",
    [
        {"codewords": [[1, 2, 3, 4]]},
        {"codewords": [[0] * 99] * WORDS},
        {"codewords": [[1 << 40] * LENGTH] * WORDS},
        {"codewords": [0] * WORDS},
        {"tables": made()["tables"][1:]},
        {"tables": [[1, 65533, 1, 1]] * VECTOR_CLASSES},
        {"rate_weight": -1},
        {"rate_weight": float("nan")},
    ],
)
def test_a_codebook_that_does_not_fit_is_refused(changes):
    with pytest.raises(FormatError):
        Codebook.from_json(made(**changes))


def test_an_index_beyond_the_codebook_is_refused():
    book = Codebook.from_json(made())
    encoder = RangeEncoder()
    radius = book.tables[0].radius
    encoder.encode(np.array([radius], np.int32), np.zeros(1, np.int64), book.tables)
    with pytest.raises(FormatError, match="codeword"):
        book.decode(RangeDecoder(encoder.finish()), np.zeros((1, LENGTH), np.int64))
