"""The Bjontegaard delta rate (Bjontegaard 2001): the mean difference of two rate-distortion curves in bits."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import numpy as np

from codec.errors import MissingPackageError

Point = tuple[float, float]
"""Bits per pixel, and a quality measure that is larger for better pictures."""


def check_bd_rate() -> None:
    """Raise MissingPackageError when the package that computes BD-rates is not installed."""
    if find_spec("bjontegaard") is None:
        raise MissingPackageError("BD-rates need bjontegaard: pip install 'neural-image-codec[eval]'")


def bd_rate(anchor: list[Point], test: list[Point]) -> float:
    """How many percent more bits ``test`` needs than ``anchor`` at equal quality.

    The logarithm of the rate is interpolated by monotone cubics (PCHIP) over the quality, and averaged over the
    qualities that both curves cover. NaN where there are none, or a curve has fewer than two points.

    Raises:
        MissingPackageError: when bjontegaard is not installed.
    """
    check_bd_rate()
    import bjontegaard  # late: it imports scipy and matplotlib

    curves = [_rising(points) for points in (anchor, test)]
    if min(len(quality) for _, quality in curves) < 2:
        return float("nan")
    if max(quality[0] for _, quality in curves) >= min(quality[-1] for _, quality in curves):
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about curves that overlap little
        return float(bjontegaard.bd_rate(*curves[0], *curves[1], method="pchip", require_matching_points=False))


def _rising(points: list[Point]) -> tuple[np.ndarray, np.ndarray]:
    """Rates and qualities in the order of quality, the lowest rate of those that reach the same."""
    best: dict[float, float] = {}
    for rate, quality in points:
        best[quality] = min(rate, best.get(quality, rate))
    qualities = np.array(sorted(best))
    return np.array([best[quality] for quality in qualities]), qualities
