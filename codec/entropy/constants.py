"""Constants that the entropy model's training and the coder share: scales, units, the order of the context steps."""

from __future__ import annotations

from typing import Any

SCALE_LEVELS = 64
"""Scale indices run from 0 to SCALE_LEVELS - 1."""
SCALE_MIN, SCALE_MAX = 0.11, 256.0
"""Standard deviations of the first and last level, in quantisation steps; the others are in geometric progression."""
MEAN_SHIFT = 4
"""Means and decoded latents are integers in units of ``2**-MEAN_SHIFT`` quantisation steps."""
UNITS = 1 << MEAN_SHIFT
"""Those units in one quantisation step."""
STEPS = 4
"""Context steps; also groups of channels, and positions in a 2x2 square."""
HYPER_MAX = 255
"""Hyper-latents are integers from -255 to 255."""
MAX_HUNDREDTHS = 10000
"""A file stores its quality, 0 to 100, in hundredths."""
MAX_QUALITY_LEVEL = 255
"""The quality enters h_s as an integer from 0 to 255."""
VECTOR_CLASS_LEVELS = 4
"""Scale levels that share one table of codeword indices, in vector-quantised models."""
VECTOR_CLASSES = SCALE_LEVELS // VECTOR_CLASS_LEVELS

_PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))


def step_phases(step: int) -> list[tuple[int, int]]:
    """The (row, column) parities at which context step ``step`` decodes the channels of each group."""
    return [_PHASES[(step + group) % STEPS] for group in range(STEPS)]


def lambda_at(lambda_min: float, lambda_max: float, unit_quality: Any) -> Any:
    """lambda for a quality in [0, 1], a number or a tensor: in geometric progression between the two."""
    return lambda_min * (lambda_max / lambda_min) ** unit_quality


def unit_quality(hundredths: int) -> float:
    """The quality in [0, 1] that the float networks take, for one in hundredths (0 to 10000)."""
    return hundredths / MAX_HUNDREDTHS


def quality_level(hundredths: int) -> int:
    """The integer from 0 to 255 that h_s takes, for a quality in hundredths (0 to 10000)."""
    return (hundredths * MAX_QUALITY_LEVEL + MAX_HUNDREDTHS // 2) // MAX_HUNDREDTHS
