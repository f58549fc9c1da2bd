"""The portable range coder: the same words as constriction's, and the same answer to words that no encoder writes."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.entropy.portable_range_coder import Categorical, RangeDecoder, RangeEncoder
from codec.entropy.range_coder import TOTAL
from conftest import GOLDEN

constriction = pytest.importorskip("constriction")


@st.composite
def tables(draw):
    """Frequencies with the sum 2**16: from nearly equal ones to a single likely one."""
    size, seed, spread = draw(st.integers(2, 60)), draw(st.integers(0, 1000)), draw(st.floats(0.1, 12))
    weights = np.random.default_rng(seed).exponential(size=size) ** spread
    frequencies = np.maximum(1, (weights / weights.sum() * (TOTAL - size)).astype(np.int64))
    frequencies[frequencies.argmax()] += TOTAL - frequencies.sum()
    return frequencies


@st.composite
def streams(draw):
    """Arrays of symbols, each with its table: likely ones, or any."""
    arrays = []
    for frequencies in draw(st.lists(tables(), max_size=5)):
        rng = np.random.default_rng(draw(st.integers(0, 1000)))
        chances = frequencies / TOTAL if draw(st.booleans()) else None
        symbols = rng.choice(len(frequencies), draw(st.integers(1, 80)), p=chances)
        arrays.append((frequencies, symbols.astype(np.int32)))
    return arrays


def model_of_constriction(frequencies):
    return constriction.stream.model.Categorical(frequencies / TOTAL, perfect=False)


@given(streams())
def test_both_coders_write_the_same_words_and_read_each_other(arrays):
    ours, theirs = RangeEncoder(), constriction.stream.queue.RangeEncoder()
    for frequencies, symbols in arrays:
        ours.encode(symbols, Categorical(frequencies))
        theirs.encode(symbols, model_of_constriction(frequencies))
    words = ours.get_compressed()
    assert words.tolist() == theirs.get_compressed().tolist()
    decoder = RangeDecoder(words)
    for frequencies, symbols in arrays:
        assert decoder.decode(Categorical(frequencies), len(symbols)).tolist() == symbols.tolist()


@given(st.lists(st.integers(0, 2**32 - 1), max_size=6), tables())
def test_both_decoders_give_the_same_symbols_for_any_words_or_none(words, frequencies):
    words = np.array(words, np.uint32)
    ours, theirs = RangeDecoder(words), constriction.stream.queue.RangeDecoder(words)
    for _ in range(4):
        try:
            expected = theirs.decode(model_of_constriction(frequencies), 20)
        except (AssertionError, ValueError):
            with pytest.raises(ValueError, match="not a stream"):
                ours.decode(Categorical(frequencies), 20)
            return
        assert ours.decode(Categorical(frequencies), 20).tolist() == expected.tolist()


def test_without_constriction_files_are_the_same():
    code = f"""
import sys
sys.modules["constriction"] = None  # as if it was not installed
import codec, numpy as np
from codec.entropy import backend
assert backend.constriction is None
coder = codec.Codec({str(GOLDEN / "filtered.nicm")!r}, threads=1)
data = open({str(GOLDEN / "hidden_signs.nic")!r}, "rb").read()
picture = np.asarray(coder.decode(data))
sys.stdout.buffer.write(coder.encode(picture, 60))
"""
    without = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    code = code.replace('sys.modules["constriction"] = None', "").replace(" is None", " is not None")
    assert without == subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
