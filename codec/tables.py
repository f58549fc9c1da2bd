"""Constants that the entropy model's training and the coder share: scales, units, the order of the steps."""

from __future__ import annotations

SCALE_LEVELS = 64
"""Scale indices run from 0 to SCALE_LEVELS - 1."""
SCALE_MIN, SCALE_MAX = 0.11, 256.0
"""Standard deviations of the first and last level; those between are in geometric progression."""
MEAN_SHIFT = 4
"""Means and decoded latents are integers in units of ``2**-MEAN_SHIFT`` quantisation steps."""
STEPS = 4
"""Context steps, groups of channels, and positions in a 2x2 cell: four of each."""
HYPER_MAX = 255
"""Hyper-latents are integers from -255 to 255."""
QUALITY_MAX = 255
"""The quality enters h_s as an integer from 0 to 255."""
VECTOR_CLASS_LEVELS = 4
"""Vectors whose mean scale indices, divided by this, are equal share a table of codeword indices."""
VECTOR_CLASSES = SCALE_LEVELS // VECTOR_CLASS_LEVELS

_PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))


def step_phases(step: int) -> list[tuple[int, int]]:
    """The (row, column) parities at which ``step`` decodes the channels of each group."""
    return [_PHASES[(step + group) % STEPS] for group in range(STEPS)]


def distortion_weight(lambda_min: float, lambda_max: float, quality):
    """lambda for a quality in [0, 1], a number or a tensor: in geometric progression between the two."""
    return lambda_min * (lambda_max / lambda_min) ** quality


def quality_level(quality: int) -> int:
    """Quality in hundredths (0..10000) to the integer that h_s takes."""
    return (quality * QUALITY_MAX + 5000) // 10000
