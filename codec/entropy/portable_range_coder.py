"""A range coder in plain Python with the same words out as constriction's, bit for bit.

It takes constriction's place on machines that constriction has no package for (Linux on ARM, Alpine), and it is the
range coder of ``FORMAT.md`` in code. A carry-propagating range coder (Martin 1979) with a state of 64 bits and words of
32 bits; models have 24 bits of precision. A stream takes many times as long as with constriction.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

PRECISION = 24
"""Bits of a model's cumulative frequencies."""
_WORD_BITS, _STATE_BITS = 32, 64
_WORD_MASK, _STATE_MASK = (1 << _WORD_BITS) - 1, (1 << _STATE_BITS) - 1
_MIN_RANGE = 1 << (_STATE_BITS - _WORD_BITS)
"""A range below this is widened by a word."""


class Categorical:
    """A model with the cumulative frequencies that constriction computes for ``frequencies / 2**16``.

    ``frequencies`` is an integer array (n,) with sum 2**16. Each symbol gets one unit of 2**-24, and a share of the
    other ``2**24 - n`` units in proportion to its frequency, rounded down after accumulation.
    """

    def __init__(self, frequencies: np.ndarray) -> None:
        below = np.concatenate([[0], np.cumsum(frequencies, dtype=np.int64)])
        free = (1 << PRECISION) - len(frequencies)
        cumulative = (below * free >> 16) + np.arange(len(below))
        self.cumulative: list[int] = cumulative.tolist()


class RangeEncoder:
    """Collects symbols; ``get_compressed`` gives the words."""

    def __init__(self) -> None:
        self._lower, self._range = 0, _STATE_MASK
        self._words: list[int] = []
        # Words that a carry may still change: the first of them, then words of ones.
        self._pending, self._first_pending = 0, 0

    def encode(self, symbols: np.ndarray, model: Categorical) -> None:
        """Encode ``symbols`` (N,), indices into the model's frequencies."""
        cumulative = model.cumulative
        for symbol in symbols.tolist():
            left = cumulative[symbol]
            scale = self._range >> PRECISION
            self._range = scale * (cumulative[symbol + 1] - left)
            lower = self._lower + scale * left
            has_carry, lower = lower > _STATE_MASK, lower & _STATE_MASK
            if self._pending and lower + self._range <= _STATE_MASK:
                self._flush(has_carry)
            self._lower = lower
            if self._range < _MIN_RANGE:
                self._shift()

    def _shift(self) -> None:
        """Move the upper word of ``lower`` out, and widen the range by as much."""
        word = self._lower >> _WORD_BITS
        self._lower = self._lower << _WORD_BITS & _STATE_MASK
        self._range <<= _WORD_BITS
        if self._pending:
            self._pending += 1
        elif self._lower + self._range > _STATE_MASK:
            self._pending, self._first_pending = 1, word
        else:
            self._words.append(word)

    def _flush(self, has_carry: bool) -> None:
        """Write the pending words, now that it is known whether a carry changes them."""
        self._words.append(self._first_pending + has_carry & _WORD_MASK)
        self._words += [0 if has_carry else _WORD_MASK] * (self._pending - 1)
        self._pending = 0

    def get_compressed(self) -> np.ndarray:
        """The words (uint32) of all symbols; nothing can be encoded afterwards."""
        if self._range == _STATE_MASK:
            return np.array(self._words, np.uint32)
        point = self._lower + _MIN_RANGE - 1
        if self._pending:
            self._flush(point > _STATE_MASK)
        point_word = (point & _STATE_MASK) >> _WORD_BITS
        self._words.append(point_word)
        if (self._lower + self._range & _STATE_MASK) >> _WORD_BITS == point_word:
            self._words.append(0)
        return np.array(self._words, np.uint32)


class RangeDecoder:
    """Decodes the words (uint32) of a ``RangeEncoder``; words beyond the end count as zero."""

    def __init__(self, words: np.ndarray) -> None:
        self._words = iter(words.tolist())
        self._lower, self._range = 0, _STATE_MASK
        self._point = next(self._words, 0) << _WORD_BITS | next(self._words, 0)

    def decode(self, model: Categorical, count: int) -> np.ndarray:
        """``count`` symbols, int32. Raises ValueError for words that no encoder writes."""
        cumulative = model.cumulative
        symbols = np.empty(count, np.int32)
        lower, width, point = self._lower, self._range, self._point
        for i in range(count):
            scale = width >> PRECISION
            quantile = (point - lower & _STATE_MASK) // scale
            if quantile >> PRECISION:
                raise ValueError("the words are not a stream of these models")
            symbol = bisect_right(cumulative, quantile) - 1
            symbols[i] = symbol
            left = cumulative[symbol]
            lower = lower + scale * left & _STATE_MASK
            width = scale * (cumulative[symbol + 1] - left)
            if width < _MIN_RANGE:
                lower = lower << _WORD_BITS & _STATE_MASK
                width <<= _WORD_BITS
                point = (point << _WORD_BITS & _STATE_MASK) | next(self._words, 0)
        self._lower, self._range, self._point = lower, width, point
        return symbols
