"""The quality at which a file is just small enough, or its picture just good enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np

from codec.entropy.constants import MAX_HUNDREDTHS
from codec.errors import LimitError

BYTES_TOLERANCE = math.log(1.02)
PSNR_TOLERANCE = 0.05
_MAX_TRIALS = 9
_LOG_BYTES_SLOPE = math.log(20) / MAX_HUNDREDTHS
_PSNR_SLOPE = 11 / MAX_HUNDREDTHS
"""Typical slopes on photographs per hundredth of quality, in log(bytes) and in dB; they give the second trial."""


class _Trial(NamedTuple):
    hundredths: int
    value: float  # log(bytes), or dB: rises with the quality


def fit_bytes(encode: Callable[[int], bytes], max_bytes: int) -> int:
    """The quality in hundredths whose file has at most ``max_bytes``, and at most 2 % fewer where the range allows.

    Raises:
        LimitError: when even quality 0 is larger.
    """

    def log_bytes(hundredths: int) -> float:
        return math.log(len(encode(hundredths)))

    limit = math.log(max(1, max_bytes))
    below, above = _search(log_bytes, limit - BYTES_TOLERANCE / 2, (limit - BYTES_TOLERANCE, limit), _LOG_BYTES_SLOPE)
    if below is None:
        smallest = round(math.exp(cast("_Trial", above).value))
        raise LimitError(f"the smallest file that this model makes of the picture has {smallest} bytes")
    return below.hundredths


def fit_psnr(measure: Callable[[int], float], min_psnr: float) -> int:
    """The quality in hundredths that reaches ``min_psnr``, with at most 0.05 dB more where some quality gives that.

    Raises:
        LimitError: when even quality 100 does not reach it.
    """
    accepted = (min_psnr, min_psnr + PSNR_TOLERANCE)
    below, above = _search(measure, min_psnr + PSNR_TOLERANCE / 2, accepted, _PSNR_SLOPE)
    if above is None:
        best = cast("_Trial", below).value
        raise LimitError(f"the best PSNR that this model reaches on the picture is {best:.2f} dB")
    return above.hundredths


def _search(
    measure: Callable[[int], float], aim: float, accepted: tuple[float, float], slope: float
) -> tuple[_Trial | None, _Trial | None]:
    """The closest trials found below and above ``aim``; both are the same where one has an ``accepted`` value."""
    below: _Trial | None = None
    above: _Trial | None = None
    hundredths, run = MAX_HUNDREDTHS // 2, 0  # run: how many trials in a row fell on one side, negative for above
    for _ in range(_MAX_TRIALS):
        trial = _Trial(hundredths, measure(hundredths))
        if accepted[0] <= trial.value <= accepted[1]:
            return trial, trial
        is_below = trial.value < aim
        run = max(run, 0) + 1 if is_below else min(run, 0) - 1
        below, above = (trial, above) if is_below else (below, trial)
        is_at_end = (below and below.hundredths == MAX_HUNDREDTHS) or (above and above.hundredths == 0)
        if is_at_end or (below and above and above.hundredths - below.hundredths < 2):
            break
        hundredths = _next_hundredths(below, above, aim, slope, is_stuck=abs(run) > 1)
    return below, above


def _next_hundredths(below: _Trial | None, above: _Trial | None, aim: float, slope: float, is_stuck: bool) -> int:
    """Where the value is expected to be ``aim``.

    By interpolation, or by the typical ``slope`` where one side is not known. Where trials are stuck on one side, by
    bisection, or at the end of the range.
    """
    if below and above:
        share = 0.5 if is_stuck else (aim - below.value) / max(above.value - below.value, 1e-9)
        guess = below.hundredths + share * (above.hundredths - below.hundredths)
        return int(np.clip(round(guess), below.hundredths + 1, above.hundredths - 1))
    if is_stuck:
        return MAX_HUNDREDTHS if below else 0
    known = cast("_Trial", below or above)
    guess = known.hundredths + (aim - known.value) / slope
    low, high = (known.hundredths + 1, MAX_HUNDREDTHS) if below else (0, known.hundredths - 1)
    return round(float(np.clip(guess, low, high)))  # clipped first: the PSNR that is asked for may be infinite
