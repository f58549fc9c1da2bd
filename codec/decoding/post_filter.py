"""A filter over the synthesis output, chosen by the encoder for the one picture: an adaptive Wiener filter.

The synthesis is trained for pictures on average. The filter corrects part of its error on one picture, as the adaptive
loop filter of VVC does (Tsai et al. 2013; Taquet et al. 2019 for clipped
differences). A model file holds a space of filters, learned from training pictures; a picture's file holds the
coefficients of its filter in that space.

For each output colour a filter is a weighted sum of ``FILTER_WEIGHTS`` features of the pixel p, within [0, 1]. For each
input colour:

- for each neighbour n in ``NEIGHBOURS`` and the opposite one o: (n - p) + (o - p)
- the tone t = p - 0.5
- for each neighbour in ``CLIPPED``: both differences as above, each clipped to ``CLIP``
- for each neighbour in ``TONE_WEIGHTED``: the sum of both differences, times t; and, after these, times t squared
- t squared, t cubed

and, once for all colours, the constant 1. The sum is added to the pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from codec.container.nicm import POST_FILTER
from codec.container.post_filter import unpack
from codec.errors import FormatError
from codec.geometry import in_parallel
from codec.networks.engine import Engine
from codec.networks.model import Model

RADIUS = 2
SIDE = 2 * RADIUS + 1
NEIGHBOURS = [(dy, dx) for dy in range(RADIUS + 1) for dx in range(-RADIUS, RADIUS + 1) if (dy, dx) > (0, 0)]
"""(rows down, columns right) of half of the neighbours; filters are symmetric, so opposite ones share a weight."""
CLIPPED = [(0, 1), (1, 0), (0, 2), (2, 0)]
CLIP = 0.03
"""Clipped differences let a filter tell grain from edges."""
TONE_WEIGHTED = CLIPPED[:2]
NONLINEAR_FEATURES = len(CLIPPED) + 2 * len(TONE_WEIGHTED) + 2
"""Features of each colour that are not linear in the pixels."""
_STRIP_ROWS = 64
"""Rows that are filtered at once: the graph's intermediate results stay in the cache."""


class FilterInputs(NamedTuple):
    """The weights as the graph takes them, float32."""

    taps: np.ndarray  # (3, 3, SIDE, SIDE): a convolution, whose result is added to the picture
    nonlinear: np.ndarray  # (3, 3 * NONLINEAR_FEATURES, 1, 1): the colours of each feature side by side
    offset: np.ndarray  # (3,): added as well


def filter_inputs(weights: np.ndarray) -> FilterInputs:
    """The weights (3, FILTER_WEIGHTS) as inputs of the graph."""
    by_colour = weights[:, :-1].reshape(3, 3, -1)
    tone = by_colour[..., len(NEIGHBOURS)]
    taps = np.zeros((3, 3, SIDE, SIDE))
    for i, (dy, dx) in enumerate(NEIGHBOURS):
        for sign in (1, -1):
            taps[..., RADIUS + sign * dy, RADIUS + sign * dx] = by_colour[..., i]
    taps[..., RADIUS, RADIUS] = tone - taps.sum(axis=(2, 3))
    nonlinear = by_colour[..., -NONLINEAR_FEATURES:].transpose(0, 2, 1).reshape(3, -1, 1, 1)
    offset = weights[:, -1] - 0.5 * tone.sum(axis=1)
    return FilterInputs(*(np.ascontiguousarray(part, np.float32) for part in (taps, nonlinear, offset)))


class PostFilter:
    """One picture's filter; call it with a picture.

    Args:
        packed: the filter's coefficients, as ``codec.container.post_filter`` packs them.

    Raises:
        FormatError: when the bytes are not a filter of the model.
    """

    def __init__(self, engine: Engine, model: Model, packed: bytes) -> None:
        if model.post_filters is None:
            raise FormatError("the file has a post-filter, but its model holds none")
        exponent, coefficients = unpack(packed, len(model.post_filters))
        # In float64, and rounded once: the same on every machine.
        self._inputs = filter_inputs(np.tensordot(coefficients * 2.0**-exponent, model.post_filters, axes=1))
        self._engine = engine

    def __call__(self, x_hat: np.ndarray) -> np.ndarray:
        """Filter ``x_hat`` (3, H, W); its outermost pixels are repeated beyond its edges."""
        height = x_hat.shape[1]
        filtered = np.empty_like(x_hat)

        def filter_strip(top: int) -> None:
            bottom = min(height, top + _STRIP_ROWS)
            first = max(0, top - RADIUS)
            strip = x_hat[None, :, first : bottom + RADIUS]
            output = self._engine.run(POST_FILTER, strip.shape, x_hat=strip, **self._inputs._asdict())[0]
            filtered[:, top:bottom] = output[0, :, top - first : bottom - first]

        in_parallel(filter_strip, range(0, height, _STRIP_ROWS), self._engine.threads)
        return filtered
