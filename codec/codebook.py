"""Vector-quantised models: residuals of neighbouring channels are sent as the index of a codeword."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.errors import FormatError
from codec.range_coder import Decoder, Encoder, Table
from codec.tables import MEAN_SHIFT, VECTOR_CLASS_LEVELS, VECTOR_CLASSES

_MOST_CODEWORDS, _LONGEST, _LARGEST = 4096, 16, 1 << 20
_UNITS = 1 << MEAN_SHIFT
_AT_ONCE = 4096
"""Vectors whose distances to all codewords are held at a time."""


def vectors_of(block: np.ndarray, length: int) -> np.ndarray:
    """(G, h, w), G a multiple of ``length``, to the vectors (N, length) of neighbouring channels."""
    parts = block.reshape(block.shape[0] // length, length, *block.shape[1:])
    return parts.transpose(0, 2, 3, 1).reshape(block.size // length, length)


def block_of(vectors: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The inverse of ``vectors_of``: vectors to (G, h, w) = ``shape``."""
    groups, height, width = shape
    length = vectors.shape[1]
    return vectors.reshape(groups // length, height, width, length).transpose(0, 3, 1, 2).reshape(shape)


def vector_classes(scale_indices: np.ndarray) -> np.ndarray:
    """Scale indices (N, length) to the class (N,) whose table an index is coded under."""
    mean = scale_indices.sum(axis=1) // scale_indices.shape[1]
    return np.minimum(mean // VECTOR_CLASS_LEVELS, VECTOR_CLASSES - 1)


@dataclass(frozen=True, eq=False)
class Codebook:
    """Codewords (K, d), integers in units of ``2**-MEAN_SHIFT`` steps, and a table of indices for each class.

    ``rate_weight`` is what a bit weighs against squared distance in steps where the encoder chooses.
    """

    codewords: np.ndarray
    tables: list[Table]
    rate_weight: float

    @classmethod
    def from_json(cls, values: dict) -> Codebook:
        """Check what a model file holds. Raises FormatError, or what wrong types raise in NumPy."""
        codewords = np.array(values["codewords"], np.int64)
        if codewords.ndim != 2 or not (1 < codewords.shape[0] <= _MOST_CODEWORDS and codewords.shape[1] <= _LONGEST):
            raise FormatError("the model's codebook has a size out of range")
        if np.abs(codewords).max() > _LARGEST:
            raise FormatError("the model's codebook holds a value out of range")
        tables = [Table(np.array(row, np.int64).astype(np.int32)) for row in values["tables"]]
        radius = len(codewords) // 2
        if len(tables) != VECTOR_CLASSES or any(table.radius != radius for table in tables):
            raise FormatError("the model's codebook does not have one table of its size for each class")
        weight = float(values["rate_weight"])
        if not 0 <= weight <= 1000:
            raise FormatError("the model's codebook has a rate weight out of range")
        return cls(codewords.astype(np.float32), tables, weight)

    @property
    def length(self) -> int:
        """Channels in a vector."""
        return self.codewords.shape[1]

    def encode(self, coder: Encoder, residuals: np.ndarray, scale_indices: np.ndarray) -> np.ndarray:
        """Code the codewords for ``residuals`` (N, d), in units; gives these codewords (N, d)."""
        classes = vector_classes(scale_indices)
        radius, words = self.tables[0].radius, self.codewords / _UNITS
        bits = np.stack([16 - np.log2(t.frequencies[: len(words)]) for t in self.tables]).astype(np.float32)
        chosen = np.empty(len(residuals), np.int32)
        for start in range(0, len(residuals), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            x = np.nan_to_num(residuals[part]) / _UNITS
            distance = (x * x).sum(1)[:, None] - 2 * x @ words.T + (words * words).sum(1)
            chosen[part] = (distance + self.rate_weight * bits[classes[part]]).argmin(1)
        coder.encode(chosen - radius, classes, self.tables)
        return self.codewords[chosen]

    def decode(self, coder: Decoder, scale_indices: np.ndarray) -> np.ndarray:
        """The codewords (N, d), in units, that were coded. Raises FormatError on damage."""
        chosen = coder.decode(vector_classes(scale_indices), self.tables) + self.tables[0].radius
        if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(self.codewords)):
            raise FormatError("a coded stream names a codeword that the model does not have")
        return self.codewords[chosen]
