"""Choosing a picture's post-filter: least squares over its pixels, then coefficients at the least rate and distortion.

``codec.decoding.post_filter`` describes the features and applies the filter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from codec.container.nicm import FILTER_WEIGHTS
from codec.container.post_filter import EXPONENT_BITS, MAX_COEFFICIENT, pack
from codec.decoding.post_filter import CLIP, CLIPPED, NEIGHBOURS, NONLINEAR_FEATURES, RADIUS, TONE_WEIGHTED

_SAMPLED_PIXELS = 1 << 17
"""A filter is fitted to about this many pixels of a picture, more of a large one."""
_MAX_ROW_STRIDE = 15
_PIXELS_AT_ONCE = 1 << 12
"""Pixels whose features are held at a time: they stay in the cache."""
_MAX_CHANGES = 200
_HIGH_RATE_STEP = 6 / np.log(2)
"""lambda * squared error of one quantisation step of a coefficient at which rate and distortion balance."""
_MIN_SAVED_BITS = 0.01


class NormalEquations(NamedTuple):
    """The least-squares problem of a filter: sums over pixels of products of features, F of them."""

    gram: np.ndarray  # (F, F): of features with each other
    match: np.ndarray  # (F, 3): of features with what is missing of each colour; (F,) in a model's coefficients


class FilterStatistics(NamedTuple):
    """The normal equations over all ``FILTER_WEIGHTS`` features, and the squared error without a filter."""

    equations: NormalEquations
    error: float


def sum_equations(parts: list[NormalEquations]) -> NormalEquations:
    """The sum of one or more equations."""
    return NormalEquations(*(np.sum(sums, axis=0) for sums in zip(*parts, strict=True)))


def in_coefficients(equations: NormalEquations, filters: np.ndarray) -> NormalEquations:
    """The equations of the coefficients in a space of ``filters`` (K, 3, FILTER_WEIGHTS): (K, K) and (K,)."""
    gram = np.tensordot(filters @ equations.gram, filters, axes=([1, 2], [1, 2]))
    return NormalEquations(gram, np.tensordot(filters, equations.match.T, axes=2))


def row_stride(pixels: int) -> int:
    """The distance between the rows that a filter is fitted to, for a picture of ``pixels`` pixels.

    It is odd, so that each of the 8 rows that the synthesis computes together is sampled.
    """
    return min(_MAX_ROW_STRIDE, pixels // _SAMPLED_PIXELS | 1)


def filter_statistics(pixels: np.ndarray, x_hat: np.ndarray, stride: int = 1) -> FilterStatistics:
    """The statistics of every ``stride``-th row of ``pixels``, uint8 (3, H, W), scaled to all rows.

    ``x_hat`` (3, H, W) is the synthesis output. Features are differences, so float32 is exact enough.
    """
    _, height, width = pixels.shape
    padded = np.pad(x_hat, ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS)), mode="edge")
    padded.clip(0, 1, out=padded)
    rows = range(0, height, stride)
    rows_at_once = max(1, _PIXELS_AT_ONCE // width)
    gram, match, error = np.zeros((FILTER_WEIGHTS, FILTER_WEIGHTS)), np.zeros((FILTER_WEIGHTS, 3)), 0.0
    for first in range(0, len(rows), rows_at_once):
        part = rows[first : first + rows_at_once]
        features = _features(padded, part, width)
        missing = pixels[:, part.start : part.stop : stride] / np.float32(255) - _shifted(padded, part, 0, 0, width)
        missing = missing.reshape(3, -1)
        gram += features @ features.T
        match += features @ missing.T
        error += float(np.square(missing).sum())
    share = height / len(rows)
    return FilterStatistics(NormalEquations(gram * share, match * share), error * share)


def _shifted(padded: np.ndarray, rows: range, dy: int, dx: int, width: int) -> np.ndarray:
    """The neighbours (3, R, W), ``dy`` rows down and ``dx`` columns right, of the pixels of ``rows``."""
    top, left = RADIUS + dy, RADIUS + dx
    return padded[:, top + rows.start : top + rows.stop : rows.step, left : left + width]


def _features(padded: np.ndarray, rows: range, width: int) -> np.ndarray:
    """The features of the pixels of ``rows``: (FILTER_WEIGHTS, R * W) float32."""

    def clipped_difference(dy: int, dx: int) -> np.ndarray:
        difference = _shifted(padded, rows, dy, dx, width) - middle
        return difference.clip(-CLIP, CLIP, out=difference)

    middle = _shifted(padded, rows, 0, 0, width)
    twice, tone = 2 * middle, middle - np.float32(0.5)
    features = np.ones((FILTER_WEIGHTS, middle[0].size), np.float32)
    by_colour = features[:-1].reshape(3, len(NEIGHBOURS) + 1 + NONLINEAR_FEATURES, *middle.shape[1:])
    outputs = iter(by_colour.swapaxes(0, 1))
    differences = {}
    for dy, dx in NEIGHBOURS:
        one, opposite = (_shifted(padded, rows, sign * dy, sign * dx, width) for sign in (1, -1))
        differences[dy, dx] = np.add(one, opposite, out=next(outputs))
        differences[dy, dx] -= twice
    next(outputs)[:] = tone
    for dy, dx in CLIPPED:
        np.add(clipped_difference(dy, dx), clipped_difference(-dy, -dx), out=next(outputs))
    square = tone * tone
    for factor in (tone, square):
        for neighbour in TONE_WEIGHTED:
            np.multiply(differences[neighbour], factor, out=next(outputs))
    next(outputs)[:] = square
    np.multiply(square, tone, out=next(outputs))
    return features


def fit_post_filter(equations: NormalEquations, lambda_: float) -> bytes:
    """The packed filter that saves most, its own bits counted; empty when none pays.

    Coefficients are changed one at a time, the one that saves most first, as in matching pursuit (Mallat, Zhang 1993).

    Args:
        equations: in the model's coefficients.
        lambda_: bits for each unit of squared error.
    """
    gram, match = (lambda_ * part for part in equations)
    curvature = np.diag(gram)
    typical = float(np.median(curvature))
    if not (np.isfinite(gram).all() and np.isfinite(match).all()) or typical <= 0:
        return b""
    exponent = int(np.clip(np.rint(0.5 * np.log2(typical / _HIGH_RATE_STEP)), 0, 2**EXPONENT_BITS - 1))
    gram, curvature, gradient = (a * 4.0**-exponent for a in (gram, curvature, -2 * match * 2.0**exponent))
    coefficients = np.zeros(len(match), int)
    for _ in range(_MAX_CHANGES):
        best = np.rint(coefficients - gradient / np.maximum(2 * curvature, 1e-9))
        best = best.clip(-MAX_COEFFICIENT, MAX_COEFFICIENT).astype(int)
        candidates = np.stack([best, best - np.sign(best), np.zeros_like(best)])
        changes = candidates - coefficients
        savings = _bits(coefficients) - _bits(candidates) - changes * gradient - changes**2 * curvature
        choice, index = np.unravel_index(savings.argmax(), savings.shape)
        if savings[choice, index] < _MIN_SAVED_BITS:
            break
        coefficients[index] += changes[choice, index]
        gradient = gradient + 2 * changes[choice, index] * gram[index]
    packed = pack(exponent, coefficients)
    gain = float(match @ coefficients) * 2.0 * 2.0**-exponent - float(coefficients @ gram @ coefficients)
    return packed if gain > 8 * (len(packed) + 1) else b""


def _bits(coefficients: np.ndarray) -> np.ndarray:
    """Lengths of the Exp-Golomb codes."""
    return 2 * np.frexp(np.where(coefficients > 0, 2 * coefficients, 1 - 2 * coefficients))[1] - 1
