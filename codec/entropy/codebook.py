"""Vector-quantised residuals: d neighbouring channels at one position are coded as the index of a codeword."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.entropy.constants import VECTOR_CLASS_LEVELS, VECTOR_CLASSES
from codec.entropy.range_coder import RangeDecoder, Table
from codec.errors import FormatError, ModelError

_MAX_CODEWORDS, _MAX_LENGTH, _MAX_VALUE = 4096, 16, 1 << 20


def to_vectors(array: np.ndarray, length: int) -> np.ndarray:
    """(G, h, w), G a multiple of ``length``, to vectors (N, length) of neighbouring channels."""
    parts = array.reshape(array.shape[0] // length, length, *array.shape[1:])
    return parts.transpose(0, 2, 3, 1).reshape(array.size // length, length)


def from_vectors(vectors: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of ``to_vectors``: vectors to (G, h, w) = ``shape``."""
    groups, height, width = shape
    length = vectors.shape[1]
    return vectors.reshape(groups // length, height, width, length).transpose(0, 3, 1, 2).reshape(shape)


def vector_classes(scale_indices: np.ndarray) -> np.ndarray:
    """Scale indices (N, length) to the class (N,) under whose table an index is coded."""
    mean = scale_indices.sum(axis=1) // scale_indices.shape[1]
    return np.minimum(mean // VECTOR_CLASS_LEVELS, VECTOR_CLASSES - 1)


@dataclass(frozen=True, eq=False)
class Codebook:
    """Codewords (K, d), integers in units of ``2**-MEAN_SHIFT`` steps, and a table of indices for each class.

    ``rate_weight`` is what one bit weighs against squared distance, in squared steps, when the encoder chooses.
    """

    codewords: np.ndarray
    tables: list[Table]
    rate_weight: float

    @classmethod
    def from_json(cls, values: dict) -> Codebook:
        """Check the values that a model file holds. Raises ModelError, or what numpy raises for wrong types."""
        codewords = np.array(values["codewords"], np.int64)
        if codewords.ndim != 2 or not (1 < codewords.shape[0] <= _MAX_CODEWORDS and codewords.shape[1] <= _MAX_LENGTH):
            raise ModelError("the model's codebook has a size out of range")
        if np.abs(codewords).max() > _MAX_VALUE:
            raise ModelError("the model's codebook holds a value out of range")
        tables = [Table(np.array(row, np.int64).astype(np.int32)) for row in values["tables"]]
        radius = len(codewords) // 2
        if len(tables) != VECTOR_CLASSES or any(table.radius != radius for table in tables):
            raise ModelError("the model's codebook does not have one table of its size for each class")
        weight = float(values["rate_weight"])
        if not 0 <= weight <= 1000:
            raise ModelError("the model's codebook has a rate weight out of range")
        return cls(codewords.astype(np.float32), tables, weight)

    @property
    def length(self) -> int:
        """Channels in a vector."""
        return self.codewords.shape[1]

    def decode(self, decoder: RangeDecoder, scale_indices: np.ndarray) -> np.ndarray:
        """The coded codewords (N, d), in units, for scale indices (N, d). Raises FormatError on damage."""
        indices = decoder.decode(vector_classes(scale_indices), self.tables) + self.tables[0].radius
        if indices.size and not (indices.min() >= 0 and indices.max() < len(self.codewords)):
            raise FormatError("a coded stream names a codeword that the model does not have")
        return self.codewords[indices]
