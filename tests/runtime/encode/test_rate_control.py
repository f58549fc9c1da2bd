import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.unseen import pixel_art
from codec import FormatError, LimitError
from codec.encode.rate_control import fit_bytes, fit_psnr
from codec.metrics import psnr
from conftest import made_picture


@given(st.floats(6, 12), st.floats(1, 4), st.floats(0.5, 2), st.floats(0.02, 0.98))
def test_the_search_finds_any_rate_on_any_rising_curve_in_few_trials(start, rise, bend, share):
    trials = []

    def encode(quality):
        trials.append(quality)
        return bytes(round(math.exp(start + rise * (quality / 10000) ** bend)))

    limit = round(math.exp(start + rise * share))
    size = len(encode(fit_bytes(encode, limit)))
    assert 0.98 * limit - 1 <= size <= limit and len(trials) <= 10


def test_a_limit_above_the_range_gives_the_best_quality_and_one_below_it_an_error():
    assert fit_bytes(lambda quality: bytes(100 + quality), 50000) == 10000
    with pytest.raises(LimitError, match="has 100 bytes"):
        fit_bytes(lambda quality: bytes(100 + quality), 99)
    assert fit_psnr(lambda quality: 30 + quality / 1000, 20) == 0
    with pytest.raises(LimitError, match=r"is 40\.00 dB"):
        fit_psnr(lambda quality: 30 + quality / 1000, 41)
    for wanted in (math.inf, 1e300):
        with pytest.raises(LimitError, match=r"is 40\.00 dB"):
            fit_psnr(lambda quality: 30 + quality / 1000, wanted)
    assert fit_psnr(lambda quality: 30 + quality / 1000, -math.inf) == 0


def test_a_file_fits_its_limit_and_reaches_its_psnr(tiny):
    pixels = made_picture(200, 160)
    low, high = (tiny.encode(pixels, q, fallback=False) for q in (10, 90))
    limit = (len(low) + len(high)) // 2
    data = tiny.encode_to_fit(pixels, max_bytes=limit, fallback=False)
    assert 0.98 * limit <= len(data) <= limit
    wanted = sum(psnr(pixels, np.asarray(tiny.decode(f))) for f in (low, high)) / 2
    data = tiny.encode_to_fit(pixels, min_psnr=wanted)
    assert psnr(pixels, np.asarray(tiny.decode(data))) >= wanted


def test_a_psnr_that_is_no_number_is_refused(tiny):
    with pytest.raises(FormatError, match="not a number"):
        tiny.encode_to_fit(made_picture(20, 20), min_psnr=math.nan)


def test_a_drawing_fits_limits_that_only_webp_meets(tiny):
    pixels = pixel_art(160)
    small = len(tiny.encode(pixels, 0))
    assert len(tiny.encode_to_fit(pixels, max_bytes=small + 10)) <= small + 10
    assert psnr(pixels, np.asarray(tiny.decode(tiny.encode_to_fit(pixels, min_psnr=90)))) == 100
    with pytest.raises(LimitError):
        tiny.encode_to_fit(pixels, min_psnr=90, fallback=False)
