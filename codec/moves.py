"""Which of a picture's latents are to be one more or less, by the slopes of its error and the bits of symbols.

Along each latent the error is taken for a parabola, of the slope that the gradient says and of a curvature that is
about the same everywhere, for rate-distortion optimised quantisation (Ramchandran, Vetterli 1994).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from codec.model_file import Model

CURVATURE = 30.0
"""Bits: the second derivative of lambda * squared error by a latent in quantisation steps that moves are first
taken to have. Training makes it about the same for nearly all latents at all qualities. Where it is ten times as high,
moves that expect less of it have made noise of a whole cell: see ``stiffness_of``."""
MOVED_SHARE = 0.8
"""Of the moves that would gain, this share, drawn at random, is made at once: neighbours make up for each other."""
RATE_WEIGHT = 1.5
"""A bit less in a symbol saves more than that bit: later predictions expect less."""
APART = 20.0
"""Bits: the curvature by which slopes say where in its cell a latent has the least error."""
REACH_ALONE = 0.8
"""The reach of a single iteration, whose moves nothing makes up for."""
SLOPE_SHARE = 0.35
"""How far a latent is aimed towards what its slope says, and else at what the analysis gave: see ``aimed``. Slopes have
the errors of all other latents in them, which hiding signs changes again."""
CELL_SHARE = 0.49
"""Latents are left where they were, but within this of the value that is to be coded, of the 0.5 that would do."""
_MOVES = np.array([[-1], [0], [1]], np.int32)


class Latents(NamedTuple):
    """A block's latents (M, h, w), and what is known of them."""

    y: np.ndarray  # what is to be coded, in quantisation steps
    decoded: np.ndarray  # what becomes of it; zero outside the tiles
    symbols: np.ndarray  # integers
    scale_index: np.ndarray  # integers
    slope: np.ndarray  # bits a step that lambda * squared error rises
    stiffness: np.ndarray  # (h, w): how many times the usual curvature that slopes show, at least 1


def moved(
    model: Model, latents: Latents, reach: float, rng: np.random.Generator, caution: np.ndarray | float = 1.0
) -> tuple[np.ndarray, float]:
    """Decoded latents (M, h, w), one more or less where that seems to gain; and how much, as a share of their bits.

    Args:
        reach: what curvatures are divided by.
        rng: draws those of the moves that are made.
        caution: what curvatures are multiplied by, for all latents or each (M, h, w).
    """
    curve = np.broadcast_to(CURVATURE / (2 * reach) * caution * latents.stiffness, latents.slope.shape)
    # Elsewhere no move can gain: a symbol of zero is the cheapest.
    places = np.nonzero((latents.symbols != 0) | (np.abs(latents.slope) > curve))
    symbols, scale_index, slope = (a[places] for a in (latents.symbols, latents.scale_index, latents.slope))
    curve, bits = curve[places], model.bits_of(symbols + _MOVES, scale_index)
    changes = slope * _MOVES + curve * _MOVES**2 + RATE_WEIGHT * bits
    moves = _MOVES[changes.argmin(axis=0), 0]
    moves *= rng.random(moves.shape) < MOVED_SHARE
    wanted = latents.decoded.copy()
    wanted[places] += moves
    promise = float((changes[1] - changes.min(axis=0)).sum() / max(1.0, bits[1].sum()))
    return wanted, promise


def stiffness_of(slope: np.ndarray, error: np.ndarray) -> np.ndarray:
    """How many times ``CURVATURE`` the slopes (M, h, w) show of each cell of this ``error`` (h, w): (h, w), at least 1.

    With pixels r off and a synthesis of Jacobian J, slopes are J^T 2r, no longer than the largest singular value of J
    allows: the curvature 2 J^T J is at least |slope|^2 / 2|r|^2 in some direction, which is about that of the moves.
    """
    return (np.square(slope, dtype=np.float64).sum(axis=0) / (2 * CURVATURE * error.clip(min=1))).clip(min=1)


def within(y: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """``y``, as near as it takes for symbols to be those ``wanted``."""
    return y.clip(wanted - CELL_SHARE, wanted + CELL_SHARE)


def aimed(latents: Latents, wanted: np.ndarray, slope_share: float) -> np.ndarray:
    """What is coded as ``wanted``, and says where latents could as well be one more or less: see ``hidden_signs``."""
    least_error = latents.decoded - (latents.slope / APART).clip(-1, 1)
    return within(latents.y + slope_share * (least_error - latents.y), wanted)
