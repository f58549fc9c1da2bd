"""Rate-distortion optimised quantisation (RDOQ; Ramchandran, Vetterli 1994): latents coded one step up or down.

Along each latent, lambda * squared error is approximated by a parabola: its slope is the gradient of the synthesis, its
curvature is about the same for all latents. One step up or down is taken where it saves more rate than it costs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from codec.encoding.symbol_costs import SymbolCosts

CURVATURE = 30.0
"""Second derivative of lambda * squared error by a latent, in bits per squared quantisation step. Training makes it
about the same for nearly all latents at all qualities. Where it is ten times as high, steps that ignore that have
turned a whole cell into noise: see ``curvature_ratio``."""
CHANGED_SHARE = 0.8
"""Of the changes that pay, this share, drawn at random, is made at once: neighbours compensate for each other."""
RATE_WEIGHT = 1.5
"""A bit less in a symbol saves more than that bit: the scales predicted from it become smaller, too."""
AIM_CURVATURE = 20.0
"""The curvature by which a gradient says where in its quantisation bin a latent has the least error, in
``pull_to_gradient``."""
SINGLE_ITERATION_SCALE = 0.8
"""The step scale of a single iteration, whose errors no later one corrects."""
GRADIENT_SHARE = 0.35
"""How far a latent is pulled from what the analysis gave towards the least error that its gradient says. A gradient
also contains the errors of all other latents, which hiding signs changes again."""
BIN_MARGIN = 0.49
"""Latents are kept within this of the value that is to be coded: 0.5 is where rounding changes it."""
_CHANGES = np.array([[-1], [0], [1]], np.int32)


class LatentState(NamedTuple):
    """A window's latents (M, h, w), and what coding them has given."""

    y: np.ndarray  # what is to be coded, in quantisation steps
    decoded: np.ndarray  # as decoders have them; ``y`` rounded outside the tiles
    symbols: np.ndarray  # int32; zero outside the tiles
    scale_indices: np.ndarray  # int64; zero outside the tiles
    gradient: np.ndarray  # of lambda * squared error by ``decoded``, in bits per quantisation step
    curvature_ratio: np.ndarray  # (h, w): see ``curvature_ratio``


def rdoq_step(
    costs: SymbolCosts,
    state: LatentState,
    step_scale: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, float]:
    """Decoded latents (M, h, w), changed by one quantisation step where that is predicted to gain.

    Args:
        step_scale: divides the curvature; above 1, more latents change.
        rng: draws which of the changes are made.

    Returns:
        The latents, and the predicted gain of all changes as a share of the bits of the latents that could change.
    """
    curvature = np.broadcast_to(CURVATURE / (2 * step_scale) * state.curvature_ratio, state.gradient.shape)
    # Elsewhere no change can gain: a zero is the cheapest symbol.
    candidates = np.nonzero((state.symbols != 0) | (np.abs(state.gradient) > curvature))
    symbols, scale_indices, gradient = (a[candidates] for a in (state.symbols, state.scale_indices, state.gradient))
    curvature, bits = curvature[candidates], costs.bits_of(symbols + _CHANGES, scale_indices)
    cost = gradient * _CHANGES + curvature * _CHANGES**2 + RATE_WEIGHT * bits
    changes = _CHANGES[cost.argmin(axis=0), 0]
    changes *= rng.random(changes.shape) < CHANGED_SHARE
    target = state.decoded.copy()
    target[candidates] += changes
    predicted_gain = float((cost[1] - cost.min(axis=0)).sum() / max(1.0, bits[1].sum()))
    return target, predicted_gain


def curvature_ratio(gradient: np.ndarray, error: np.ndarray) -> np.ndarray:
    """A lower bound of each cell's curvature (h, w), as a multiple of ``CURVATURE``, at least 1.

    With residuals r of the pixels and the Jacobian J of the synthesis, the gradient is 2 J^T r: the curvature 2 J^T J
    is at least |gradient|^2 / 2|r|^2 in some direction, which is about that of the step.

    Args:
        gradient: (M, h, w).
        error: (h, w): lambda * squared error of each cell, in bits.
    """
    squares = np.square(gradient, dtype=np.float64).sum(axis=0)
    return (squares / (2 * CURVATURE * error.clip(min=1))).clip(min=1)


def clip_to_bin(y: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``y``, moved as little as it takes to be rounded to ``target``."""
    return y.clip(target - BIN_MARGIN, target + BIN_MARGIN)


def pull_to_gradient(state: LatentState, target: np.ndarray, share: float) -> np.ndarray:
    """Latents that are rounded to ``target``, and lie closer to the least error within their quantisation bins.

    Hiding signs changes the symbols of latents that lie near the border of their bin.
    """
    least_error = state.decoded - (state.gradient / AIM_CURVATURE).clip(-1, 1)
    return clip_to_bin(state.y + share * (least_error - state.y), target)
