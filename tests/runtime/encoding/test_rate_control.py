"""The search for a quality that keeps a limit on bytes or reaches a PSNR."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.out_of_distribution import pixel_art
from codec.encoding.rate_control import fit_bytes, fit_psnr
from codec.errors import ArgumentError, LimitError
from codec.metrics import psnr
from conftest import made_picture


@given(st.floats(6, 12), st.floats(1, 4), st.floats(0.5, 2), st.floats(0.02, 0.98))
def test_the_search_reaches_any_rate_on_any_rising_curve_in_few_trials(start, rise, bend, share):
    trials = []

    def encode(hundredths):
        trials.append(hundredths)
        return bytes(round(math.exp(start + rise * (hundredths / 10000) ** bend)))

    limit = round(math.exp(start + rise * share))
    size = len(encode(fit_bytes(encode, limit)))
    assert 0.98 * limit - 1 <= size <= limit and len(trials) <= 10


def test_a_limit_above_the_range_gives_the_best_quality_and_one_below_it_an_error():
    def psnr_at(hundredths):
        return 30 + hundredths / 1000

    assert fit_bytes(lambda hundredths: bytes(100 + hundredths), 50000) == 10000
    with pytest.raises(LimitError, match="has 100 bytes"):
        fit_bytes(lambda hundredths: bytes(100 + hundredths), 99)
    assert fit_psnr(psnr_at, 20) == 0
    with pytest.raises(LimitError, match=r"is 40\.00 dB"):
        fit_psnr(psnr_at, 41)
    for unreachable in (math.inf, 1e300):
        with pytest.raises(LimitError, match=r"is 40\.00 dB"):
            fit_psnr(psnr_at, unreachable)
    assert fit_psnr(psnr_at, -math.inf) == 0


def test_a_file_keeps_its_limit_and_reaches_its_psnr(tiny):
    pixels = made_picture(200, 160)
    low, high = (tiny.encode(pixels, quality, fallback=False) for quality in (10, 90))
    limit = (len(low) + len(high)) // 2
    data = tiny.encode_to_fit(pixels, max_bytes=limit, fallback=False)
    assert 0.98 * limit <= len(data) <= limit
    min_psnr = sum(psnr(pixels, np.asarray(tiny.decode(data))) for data in (low, high)) / 2
    data = tiny.encode_to_fit(pixels, min_psnr=min_psnr)
    assert psnr(pixels, np.asarray(tiny.decode(data))) >= min_psnr


def test_a_psnr_that_is_not_a_number_is_an_argument_error(tiny):
    with pytest.raises(ArgumentError, match="not a number"):
        tiny.encode_to_fit(made_picture(20, 20), min_psnr=math.nan)


@pytest.mark.parametrize("limits", [{}, {"max_bytes": 500, "min_psnr": 30.0}])
def test_no_limit_or_two_limits_are_an_argument_error(tiny, limits):
    with pytest.raises(ArgumentError, match="max_bytes or min_psnr"):
        tiny.encode_to_fit(made_picture(20, 20), **limits)


def test_a_drawing_keeps_limits_that_only_webp_reaches(tiny):
    pixels = pixel_art(160)
    smallest = len(tiny.encode(pixels, 0))
    assert len(tiny.encode_to_fit(pixels, max_bytes=smallest + 10)) <= smallest + 10
    assert psnr(pixels, np.asarray(tiny.decode(tiny.encode_to_fit(pixels, min_psnr=90)))) == 100
    with pytest.raises(LimitError):
        tiny.encode_to_fit(pixels, min_psnr=90, fallback=False)
