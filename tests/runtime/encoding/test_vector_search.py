"""The search for codewords: what is coded is what a decoder gets, and the nearest codeword where bits are free."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codec.encoding.vector_search import encode_vectors
from codec.entropy.codebook import Codebook
from codec.entropy.constants import SCALE_LEVELS, VECTOR_CLASSES
from codec.entropy.range_coder import RangeDecoder, RangeEncoder, table_from_probabilities

CODEWORDS, LENGTH = 6, 4


def codebook_of(rate_weight):
    codewords = np.random.default_rng(0).integers(-40, 41, (CODEWORDS, LENGTH)).astype(np.float32)
    table = table_from_probabilities(np.array([0.5] + [0.1] * (CODEWORDS - 1) + [1e-9] * 2))
    return Codebook(codewords, [table] * VECTOR_CLASSES, rate_weight)


@given(st.integers(0, 300), st.integers(0, 2**31))
def test_decoding_gives_the_codewords_that_were_chosen(count, seed):
    rng = np.random.default_rng(seed)
    codebook = codebook_of(rate_weight=0.1)
    residuals = rng.normal(0, 40, (count, LENGTH)).astype(np.float32)
    scale_indices = rng.integers(0, SCALE_LEVELS, (count, LENGTH))
    encoder = RangeEncoder()
    chosen = encode_vectors(codebook, encoder, residuals, scale_indices)
    decoder = RangeDecoder(encoder.finish())
    assert np.array_equal(codebook.decode(decoder, scale_indices), chosen)
    decoder.finish()


def test_the_nearest_codeword_is_chosen_where_bits_weigh_nothing():
    codebook = codebook_of(rate_weight=0)
    residuals = np.random.default_rng(1).normal(0, 40, (500, LENGTH)).astype(np.float32)
    residuals[0] = np.nan  # a broken analysis still gives a file
    chosen = encode_vectors(codebook, RangeEncoder(), residuals, np.zeros((500, LENGTH), np.int64))
    distances = ((np.nan_to_num(residuals)[:, None] - codebook.codewords) ** 2).sum(2)
    assert np.array_equal(chosen, codebook.codewords[distances.argmin(1)])


def test_a_rarer_codeword_is_chosen_less_often_the_more_bits_weigh():
    residuals = np.random.default_rng(1).normal(0, 40, (500, LENGTH)).astype(np.float32)
    first = [codebook_of(rate_weight=weight) for weight in (0, 5)]
    shares = []
    for codebook in first:
        chosen = encode_vectors(codebook, RangeEncoder(), residuals, np.zeros((500, LENGTH), np.int64))
        shares.append((chosen == codebook.codewords[0]).all(axis=1).mean())  # the first codeword is the commonest
    assert shares[0] < shares[1]
