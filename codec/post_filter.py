"""A filter over what the synthesis gives, fitted to the one picture: an adaptive Wiener filter.

The synthesis is the best on average; of one picture, with its own sharpness, noise and colours, a filter makes up
for part of what it missed, as the adaptive loop filter of VVC does (Tsai et al. 2013; Taquet et al. 2019 for clipped
differences). Model files hold a space of such filters, learned from what was left to filter in training pictures; a
file holds whole numbers, a filter's coordinates in that space, in some 20 to 60 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from codec.engine import Engine
from codec.errors import FormatError
from codec.model_file import FILTER_WEIGHTS, POST_FILTER, Model
from codec.tiles import in_parallel

RADIUS = 2
SIDE = 2 * RADIUS + 1
AROUND = [(down, right) for down in range(RADIUS + 1) for right in range(-RADIUS, RADIUS + 1) if (down, right) > (0, 0)]
"""Half of the places around a pixel; filters have no phase, so the opposite ones weigh the same."""
CLIPPED = [(0, 1), (1, 0), (0, 2), (2, 0)]
SMALL = 0.03
"""Differences to the ``CLIPPED`` of these places count once more, clipped to this: filters tell grain from edges."""
BY_TONE = CLIPPED[:2]
"""And those to these, times the pixel's own tone, and times its square."""
NONLINEAR = len(CLIPPED) + 2 * len(BY_TONE) + 2
"""What a filter sees of each colour that no convolution gives."""
_EXPONENT_BITS = 4
_LARGEST = 63
"""Coordinates are integers up to this, in steps of ``2**-exponent``."""
_SAMPLES = 1 << 17
"""About so many pixels of a picture, of a large one more, say what its filter should be."""
_FARTHEST_ROWS = 15
_AT_ONCE = 1 << 12
"""Pixels that are weighed at once: what they give stays in the cache."""
_STRIP = 64
"""Rows that are filtered at once: what the graph makes of them on the way stays in the cache."""
_MAX_CHANGES = 200
_HIGH_RATE_STEP = 6 / np.log(2)
"""lambda * squared error of a coordinate's step at which its rate and distortion balance, at high rates."""


class Statistics(NamedTuple):
    """What pixels say about a filter: sums over positions."""

    gram: np.ndarray  # (FILTER_WEIGHTS, FILTER_WEIGHTS): products of what is weighed
    match: np.ndarray  # (FILTER_WEIGHTS, 3): of that with what is missing of each colour
    error: float  # the squared error without a filter


def row_stride(pixels: int) -> int:
    """How many rows apart those are that say what the filter of a picture of so many ``pixels`` should be.

    Odd: the synthesis errs differently at each of the 8 rows that it makes at once, and all should be seen.
    """
    return min(_FARTHEST_ROWS, pixels // _SAMPLES | 1)


def statistics(pixels: np.ndarray, x_hat: np.ndarray, stride: int = 1) -> Statistics:
    """What each ``stride``-th row of ``pixels``, uint8 (3, H, W), and ``x_hat``, as large, say, scaled to all rows.

    A filter sees ``x_hat`` within [0, 1]. It weighs, for each colour in turn: the sums of what the places ``AROUND``
    and those opposite are more than the pixel; the tone, which is the pixel less 0.5; the sums of ``CLIPPED``
    differences; those of ``BY_TONE``, times the tone, then times its square; and the tone's square and cube. Last, a
    one. Differences, being small, are exact enough in float32.
    """
    _, height, width = pixels.shape
    padded = np.pad(x_hat, ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS)), mode="edge")
    padded.clip(0, 1, out=padded)
    rows = range(0, height, stride)
    at_once = max(1, _AT_ONCE // width)
    gram, match, error = np.zeros((FILTER_WEIGHTS, FILTER_WEIGHTS)), np.zeros((FILTER_WEIGHTS, 3)), 0.0
    for first in range(0, len(rows), at_once):
        some = rows[first : first + at_once]
        weighed = _weighed(padded, some, width)
        missing = pixels[:, some.start : some.stop : stride] / np.float32(255) - _seen(padded, some, 0, 0, width)
        missing = missing.reshape(3, -1)
        gram += weighed @ weighed.T
        match += weighed @ missing.T
        error += float(np.square(missing).sum())
    share = height / len(rows)
    return Statistics(gram * share, match * share, error * share)


def _seen(padded: np.ndarray, rows: range, down: int, right: int, width: int) -> np.ndarray:
    """The pixels (3, R, W) so far from those of ``rows``, each of which has ``width``."""
    top, left = RADIUS + down, RADIUS + right
    return padded[:, top + rows.start : top + rows.stop : rows.step, left : left + width]


def _weighed(padded: np.ndarray, rows: range, width: int) -> np.ndarray:
    """What a filter weighs of the pixels of ``rows``: (FILTER_WEIGHTS, R * W) float32."""

    def clipped(down: int, right: int) -> np.ndarray:
        difference = _seen(padded, rows, down, right, width) - middle
        return difference.clip(-SMALL, SMALL, out=difference)

    middle = _seen(padded, rows, 0, 0, width)
    twice, tone = 2 * middle, middle - np.float32(0.5)
    weighed = np.ones((FILTER_WEIGHTS, middle[0].size), np.float32)
    by_colour = weighed[:-1].reshape(3, len(AROUND) + 1 + NONLINEAR, *middle.shape[1:])
    places = iter(by_colour.swapaxes(0, 1))
    pairs = {}
    for down, right in AROUND:
        both = (_seen(padded, rows, sign * down, sign * right, width) for sign in (1, -1))
        pairs[down, right] = np.add(*both, out=next(places))
        pairs[down, right] -= twice
    next(places)[:] = tone
    for down, right in CLIPPED:
        np.add(clipped(down, right), clipped(-down, -right), out=next(places))
    square = tone * tone
    for place in BY_TONE:
        np.multiply(pairs[place], tone, out=next(places))
    for place in BY_TONE:
        np.multiply(pairs[place], square, out=next(places))
    next(places)[:] = square
    np.multiply(square, tone, out=next(places))
    return weighed


class Taps(NamedTuple):
    """What a filter's graph takes, float32."""

    taps: np.ndarray  # (3, 3, SIDE, SIDE): a convolution of x_hat, whose result is added to it
    nonlinear: np.ndarray  # (3, 3 * NONLINEAR, 1, 1): weights of the rest; the colours of each side by side
    offset: np.ndarray  # (3,): added as well


def taps_of(weights: np.ndarray) -> Taps:
    """What weights (3, FILTER_WEIGHTS) stand for."""
    by_colour = weights[:, :-1].reshape(3, 3, -1)
    tone = by_colour[..., len(AROUND)]
    taps = np.zeros((3, 3, SIDE, SIDE))
    for place, (down, right) in enumerate(AROUND):
        for sign in (1, -1):
            taps[..., RADIUS + sign * down, RADIUS + sign * right] = by_colour[..., place]
    taps[..., RADIUS, RADIUS] = tone - taps.sum(axis=(2, 3))
    nonlinear = by_colour[..., -NONLINEAR:].transpose(0, 2, 1).reshape(3, -1, 1, 1)
    offset = weights[:, -1] - 0.5 * tone.sum(axis=1)
    return Taps(*(np.ascontiguousarray(part, np.float32) for part in (taps, nonlinear, offset)))


class Evidence(NamedTuple):
    """``Statistics`` by the coordinates of a model's K filters."""

    gram: np.ndarray  # (K, K)
    match: np.ndarray  # (K,)

    @classmethod
    def of(cls, filters: np.ndarray, found: Statistics) -> Evidence:
        """Of ``found``, for ``filters`` (K, 3, FILTER_WEIGHTS)."""
        gram = np.tensordot(filters @ found.gram, filters, axes=([1, 2], [1, 2]))
        return cls(gram, np.tensordot(filters, found.match.T, axes=2))

    @classmethod
    def sum(cls, parts: list[Evidence]) -> Evidence:
        """What several parts, at least one, say together."""
        return cls(*(np.sum(sums, axis=0) for sums in zip(*parts, strict=True)))


def fitted(evidence: Evidence, weight: float) -> bytes:
    """The bytes of the filter that saves most, its own bits counted; none when it does not pay.

    ``weight`` is lambda, in bits for each unit of squared error. Coordinates are changed one at a time, the one
    that saves most first, as in matching pursuit (Mallat, Zhang 1993).
    """
    gram, match = (weight * part for part in evidence)
    curve = np.diag(gram)
    typical = float(np.median(curve))
    if not (np.isfinite(gram).all() and np.isfinite(match).all()) or typical <= 0:
        return b""
    exponent = int(np.clip(np.rint(0.5 * np.log2(typical / _HIGH_RATE_STEP)), 0, 2**_EXPONENT_BITS - 1))
    gram, curve, slope = (a * 4.0**-exponent for a in (gram, curve, -2 * match * 2.0**exponent))
    found = np.zeros(len(match), int)
    for _ in range(_MAX_CHANGES):
        best = np.clip(np.rint(found - slope / np.maximum(2 * curve, 1e-9)), -_LARGEST, _LARGEST).astype(int)
        wanted = np.stack([best, best - np.sign(best), np.zeros_like(best)])
        moves = wanted - found
        savings = _bits(found) - _bits(wanted) - moves * slope - moves**2 * curve
        choice, place = np.unravel_index(savings.argmax(), savings.shape)
        if savings[choice, place] < 0.01:
            break
        found[place] += moves[choice, place]
        slope = slope + 2 * moves[choice, place] * gram[place]
    packed = pack(exponent, found)
    gain = float(match @ found) * 2.0 * 2.0**-exponent - float(found @ gram @ found)
    return packed if gain > 8 * (len(packed) + 1) else b""


def _bits(coordinates: np.ndarray) -> np.ndarray:
    return 2 * np.frexp(np.where(coordinates > 0, 2 * coordinates, 1 - 2 * coordinates))[1] - 1


def pack(exponent: int, coordinates: np.ndarray) -> bytes:
    """Four bits for the exponent, then Exp-Golomb codes (0, 1, -1, 2, -2, ...), without the zeros at the end."""
    bits = f"{exponent:0{_EXPONENT_BITS}b}"
    for value in np.trim_zeros(coordinates, "b").tolist():
        code = f"{2 * value if value > 0 else 1 - 2 * value:b}"
        bits += "0" * (len(code) - 1) + code
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def unpack(packed: bytes, count: int) -> tuple[int, np.ndarray]:
    """Exponent and ``count`` coordinates. Raises FormatError when the bytes do not hold at most so many."""
    bits = f"{int.from_bytes(packed, 'big'):0{8 * len(packed)}b}"
    exponent, rest = int(bits[:_EXPONENT_BITS], 2), bits[_EXPONENT_BITS:]
    coordinates: list[int] = []
    while "1" in rest:
        zeros = rest.index("1")
        code, rest = rest[zeros : 2 * zeros + 1], rest[2 * zeros + 1 :]
        magnitude, negative = divmod(int(code, 2), 2)
        if len(code) <= zeros or magnitude > _LARGEST or len(coordinates) == count:
            raise FormatError("the post-filter is not one of the model's")
        coordinates.append(-magnitude if negative else magnitude)
    if len(rest) >= 8:
        raise FormatError("the post-filter is longer than it needs to be")
    return exponent, np.array(coordinates + [0] * (count - len(coordinates)))


@dataclass
class PostFilter:
    """One picture's filter.

    Raises:
        FormatError: when the bytes are not a filter of the model.
    """

    engine: Engine
    model: Model
    packed: bytes

    def __post_init__(self) -> None:
        filters = self.model.post_filters
        if filters is None:
            raise FormatError("the file has a post-filter, of which its model holds none")
        exponent, coordinates = unpack(self.packed, len(filters))
        # In float64, and rounded once: the same on every machine.
        self._taps = taps_of(np.tensordot(coordinates * 2.0**-exponent, filters, axes=1))

    def __call__(self, x_hat: np.ndarray) -> np.ndarray:
        """``x_hat`` (3, H, W) filtered, its outermost pixels repeated beyond its edges."""
        height = x_hat.shape[1]
        filtered = np.empty_like(x_hat)

        def filter_strip(top: int) -> None:
            bottom = min(height, top + _STRIP)
            first = max(0, top - RADIUS)
            strip = x_hat[None, :, first : bottom + RADIUS]
            found = self.engine.run(POST_FILTER, x_hat=strip, **self._taps._asdict())[0]
            if found.shape != strip.shape:
                raise FormatError("the model's post-filter changes the size of pictures")
            filtered[:, top:bottom] = found[0, :, top - first : bottom - first]

        in_parallel(filter_strip, range(0, height, _STRIP), self.engine.threads)
        return filtered
