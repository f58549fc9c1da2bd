"""Range coding of integer arrays under frequency tables: values are grouped by table, rare ones are escaped."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from codec.entropy.backend import Categorical, WordDecoder, WordEncoder, categorical
from codec.errors import FormatError, ModelError

PRECISION = 16
TOTAL = 1 << PRECISION
VALUE_LIMIT = 1 << 15
"""Coded values lie in (-VALUE_LIMIT, VALUE_LIMIT)."""
_ESCAPE_BITS = 16
_LONG_COUNT = 255
"""A count of escaped values up to 254 takes one byte; 255 there means that the next four bytes hold it."""


@dataclass(frozen=True, eq=False)
class Table:
    """Frequencies of the values ``least`` to ``radius``, and of the escape symbol, which comes last.

    ``frequencies`` is an integer array (radius - least + 2,), each at least 1, with sum 2**16. ``least`` is -radius, or
    0 in a table of magnitudes (``has_signs`` False).

    Raises:
        ModelError: when the frequencies are not of that form.
    """

    frequencies: np.ndarray
    has_signs: bool = True

    def __post_init__(self) -> None:
        f = self.frequencies
        is_malformed = f.ndim != 1 or f.size < 3 or (self.has_signs and f.size % 2) or f.size > TOTAL
        if is_malformed or f.min() < 1 or int(f.sum()) != TOTAL:
            raise ModelError("a frequency table of the model is not valid")

    @property
    def radius(self) -> int:
        """The largest magnitude coded without an escape."""
        return (self.frequencies.size - 2) // (2 if self.has_signs else 1)

    @property
    def least(self) -> int:
        """The value of the first frequency."""
        return -self.radius if self.has_signs else 0

    def folded(self) -> Table:
        """The table of the magnitudes of this table's values."""
        negative, others = np.split(self.frequencies, [self.radius])
        frequencies = others.copy()
        frequencies[1 : self.radius + 1] += negative[::-1]
        return Table(frequencies, has_signs=False)

    @property
    def model(self) -> Categorical:
        """The table as the coder's model."""
        return _cached_model(self.frequencies.astype(np.uint32).tobytes())

    def symbols(self, values: np.ndarray) -> np.ndarray:
        """The index of each of ``values`` among the frequencies; the last for values that must be escaped."""
        inside = (values >= self.least) & (values <= self.radius)
        return np.where(inside, values - self.least, self.frequencies.size - 1)

    def code_lengths(self, values: np.ndarray) -> np.ndarray:
        """Ideal code length of each of ``values`` in bits, the 16 raw bits of an escaped value included."""
        symbols = self.symbols(values)
        lengths = PRECISION - np.log2(self.frequencies)
        lengths[-1] += _ESCAPE_BITS
        return lengths[symbols]


@lru_cache(maxsize=1024)
def _cached_model(frequencies: bytes) -> Categorical:
    return categorical(np.frombuffer(frequencies, np.uint32))


def table_from_probabilities(probabilities: np.ndarray) -> Table:
    """The table closest to ``probabilities`` (2 * radius + 2,), the last of which is the escape's."""
    p = np.asarray(probabilities, np.float64)
    p = p / p.sum()
    frequencies = np.maximum(1, np.floor(p * (TOTAL - p.size)).astype(np.int64) + 1)
    frequencies[np.argmax(frequencies)] += TOTAL - frequencies.sum()
    return Table(frequencies.astype(np.int32))


def _grouped(indices: np.ndarray) -> np.ndarray:
    """The order in which values are coded: by table index, in array order within one table."""
    return np.argsort(indices.astype(np.uint16), kind="stable")  # 16 bits: a radix sort


class RangeEncoder:
    """Encodes arrays of integers under tables; ``finish`` gives the bytes."""

    def __init__(self) -> None:
        self._coder = WordEncoder()
        self._escaped: list[np.ndarray] = []

    def encode(self, values: np.ndarray, indices: np.ndarray, tables: list[Table]) -> None:
        """Encode ``values`` (N,) int32, each under ``tables[indices[n]]``, ``indices`` (N,)."""
        order = _grouped(indices)
        values, counts = values[order], np.bincount(indices, minlength=len(tables))
        end = 0
        for table, count in zip(tables, counts.tolist(), strict=True):
            if count:
                group, end = values[end : end + count], end + count
                symbols = table.symbols(group)
                outside = symbols == table.frequencies.size - 1
                self._coder.encode(np.ascontiguousarray(symbols, np.int32), table.model)
                if outside.any():
                    self._escaped.append(group[outside])

    def finish(self) -> bytes:
        """The stream: the count of escaped values, these values, then the range coder's words."""
        words = self._coder.get_compressed().astype("<u4").tobytes()
        escaped = np.concatenate(self._escaped) if self._escaped else np.zeros(0, np.int32)
        is_short = escaped.size < _LONG_COUNT
        count = struct.pack("<B", escaped.size) if is_short else struct.pack("<BI", _LONG_COUNT, escaped.size)
        return count + escaped.astype("<i2").tobytes() + words


class RangeDecoder:
    """Decodes arrays of integers in the order in which ``RangeEncoder.encode`` was called."""

    def __init__(self, data: bytes) -> None:
        if not data or (data[0] == _LONG_COUNT and len(data) < 5):
            raise FormatError("a coded stream is empty")
        start, count = (5, struct.unpack_from("<I", data, 1)[0]) if data[0] == _LONG_COUNT else (1, data[0])
        words = start + 2 * count
        if words > len(data) or (len(data) - words) % 4:
            raise FormatError("a coded stream has a length that does not fit")
        self._escaped = np.frombuffer(data, "<i2", count, start).astype(np.int32)
        self._coder = WordDecoder(np.frombuffer(data[words:], "<u4").astype(np.uint32))
        self._used = 0

    def decode(self, indices: np.ndarray, tables: list[Table]) -> np.ndarray:
        """The values (N,) int32 that were encoded under ``indices`` (N,). Raises FormatError on damage."""
        order = _grouped(indices)
        counts = np.bincount(indices, minlength=len(tables))
        decoded, end = np.empty(indices.size, np.int32), 0
        for table, count in zip(tables, counts.tolist(), strict=True):
            if count:
                try:
                    symbols = self._coder.decode(table.model, count)
                except (AssertionError, ValueError) as error:
                    raise FormatError("a coded stream is damaged") from error
                group = symbols + table.least
                outside = symbols == table.frequencies.size - 1
                if (missing := int(outside.sum())) > 0:
                    if self._used + missing > self._escaped.size:
                        raise FormatError("a coded stream lacks escaped values")
                    group[outside] = self._escaped[self._used : self._used + missing]
                    self._used += missing
                decoded[end : end + count] = group
                end += count
        values = np.empty_like(decoded)
        values[order] = decoded
        return values

    def finish(self) -> None:
        """Check that every escaped value was used. Raises FormatError otherwise."""
        if self._used != self._escaped.size:
            raise FormatError("a coded stream has values left over")
