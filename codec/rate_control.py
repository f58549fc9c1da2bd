"""Rates that people ask for: the quality at which a file is just small enough, or just good enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from codec.errors import LimitError

Result = TypeVar("Result")
BYTES_TOLERANCE = math.log(1.02)
PSNR_TOLERANCE = 0.05
_BEST = 10000
_MOST_TRIALS = 9
_TYPICAL_SLOPE = {"bytes": math.log(20) / _BEST, "psnr": 11 / _BEST}
"""How much log(bytes), or dB, one hundredth of quality is worth on photographs: for the second trial."""


class Trial(NamedTuple):
    """One encoding: quality in hundredths, what it reaches (log of bytes, or dB), and its result."""

    quality: int
    value: float
    result: object


def _next_quality(below: Trial | None, above: Trial | None, aim: float, slope: float, stuck: bool) -> int:
    """Where the value should be ``aim``.

    By interpolation, or where only one side is known by the typical slope; where that is ``stuck`` on one side,
    by bisection, or at the end of the range.
    """
    if below and above:
        share = 0.5 if stuck else (aim - below.value) / max(above.value - below.value, 1e-9)
        guess = below.quality + share * (above.quality - below.quality)
        return int(np.clip(round(guess), below.quality + 1, above.quality - 1))
    if stuck:
        return _BEST if below else 0
    known = below or above
    guess = known.quality + (aim - known.value) / slope
    low, high = (below.quality + 1, _BEST) if below else (0, above.quality - 1)
    return round(float(np.clip(guess, low, high)))  # for any PSNR that is asked for, an infinite one too


def _search(encode: Callable[[int], tuple[float, Result]], target: float, kind: str) -> Result:
    """The result whose value is within tolerance of ``target``: not above it for bytes, not below it for PSNR."""
    at_most = kind == "bytes"
    tolerance = BYTES_TOLERANCE if at_most else PSNR_TOLERANCE
    aim = target - tolerance / 2 if at_most else target + tolerance / 2
    below: Trial | None = None
    above: Trial | None = None
    quality, run = _BEST // 2, 0
    for _ in range(_MOST_TRIALS):
        trial = Trial(quality, *encode(quality))
        allowed = trial.value <= target if at_most else trial.value >= target
        if allowed and abs(trial.value - target) <= tolerance:
            return trial.result
        is_below = trial.value < aim
        run = max(run, 0) + 1 if is_below else min(run, 0) - 1
        below, above = (trial, above) if is_below else (below, trial)
        at_end = (below and below.quality == _BEST) or (above and above.quality == 0)
        if at_end or (below and above and above.quality - below.quality < 2):
            break
        quality = _next_quality(below, above, aim, _TYPICAL_SLOPE[kind], stuck=abs(run) > 1)
    best = below if at_most else above
    if best is None or (best.value > target if at_most else best.value < target):
        reached = (above or below).value
        raise LimitError(
            f"the smallest file that this model makes of the picture has {round(math.exp(reached))} bytes"
            if at_most
            else f"the best PSNR that this model reaches on the picture is {reached:.2f} dB"
        )
    return best.result


def fit_bytes(encode: Callable[[int], bytes], max_bytes: int) -> int:
    """The quality (hundredths) whose file has at most ``max_bytes``, and not over 2 % fewer where the range allows.

    Raises:
        LimitError: when even quality 0 is larger.
    """

    def trial(quality: int) -> tuple[float, int]:
        return math.log(len(encode(quality))), quality

    return _search(trial, math.log(max(1, max_bytes)), "bytes")


def fit_psnr(measure: Callable[[int], float], min_psnr: float) -> int:
    """The quality (hundredths) that reaches ``min_psnr``, and not over 0.05 dB more where some quality gives it.

    Raises:
        LimitError: when even quality 100 does not reach it.
    """
    return _search(lambda quality: (measure(quality), quality), min_psnr, "psnr")
