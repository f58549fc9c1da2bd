"""Coding of refined latents in a closed loop: before each context step the gradient at what is coded so far is known.

Hiding signs changes symbols; later steps correct what these changes did to the picture.
"""

from __future__ import annotations

import numpy as np

from codec.container.tile import TileContent
from codec.encoding.latents import TileEncoder
from codec.encoding.rdoq import GRADIENT_SHARE, LatentState, pull_to_gradient, rdoq_step
from codec.encoding.refine import MAX_TRUSTED_GAIN, Refinement, Refiner, round_step
from codec.encoding.synthesis_gradient import Target, synthesis_gradient
from codec.entropy.constants import STEPS, UNITS
from codec.networks.latents import Prediction

LOOP_GRADIENT_SHARE, LOOP_RATE_WEIGHT = 0.6, 2.0
"""In the loop a gradient contains the final errors of the steps before: it gets a larger share than in
``pull_to_gradient`` otherwise, and the bits that hiding signs changes get a larger weight."""
TilePart = tuple[slice, slice, slice]
"""A tile's latents in those of its window."""


def code_refined(refiner: Refiner, target: Target, refinement: Refinement) -> list[tuple[TileContent, np.ndarray]]:
    """Code the tiles of a refined window: for each its content, and the latents as a decoder will find them.

    With a single iteration only the last step is coded in the loop: a gradient takes as long as an iteration.
    """
    first_in_loop = STEPS - 1 if refiner.is_single_step else 0
    parts = [np.s_[:, rows, columns] for rows, columns in target.tiles]
    coding, decoded = refinement.coding, refinement.target.copy()
    y = pull_to_gradient(coding.state, decoded, GRADIENT_SHARE)
    encoders = [
        TileEncoder(refiner.engine, refiner.model, z_hat, y[part].shape, refiner.hundredths, hide=True)
        for z_hat, part in zip(coding.hyper, parts, strict=True)
    ]
    unfiltered = target._replace(x=target.x - (coding.filtered - coding.x_hat))
    rng = np.random.default_rng(0)
    for step in range(STEPS):
        predictions = [encoder.predict() for encoder in encoders]
        latents, rate_weight = y, 1.0
        if step >= first_in_loop:
            state = _state_in_loop(refiner, unfiltered, coding.state, y, decoded, parts, predictions, step)
            changed, predicted_gain = rdoq_step(refiner.costs, state, 1.0, rng)
            if predicted_gain < MAX_TRUSTED_GAIN:
                latents = pull_to_gradient(state, changed, LOOP_GRADIENT_SHARE)
                rate_weight = LOOP_RATE_WEIGHT
        TileEncoder.encode_step(encoders, predictions, [latents[part] for part in parts], rate_weight)
        for part, encoder, prediction in zip(parts, encoders, predictions, strict=True):
            for p in prediction.positions:
                decoded[part][p] = encoder.decoded[p] / UNITS
    return [(encoder.finish(), encoder.decoded) for encoder in encoders]


def _state_in_loop(
    refiner: Refiner,
    target: Target,
    before: LatentState,
    y: np.ndarray,
    decoded: np.ndarray,
    parts: list[TilePart],
    predictions: list[Prediction],
    step: int,
) -> LatentState:
    """The state of the latents of one context step, rounded in ``decoded``; the others have no gradient.

    At the first step all latents are as they were ``before``, and so is the gradient.
    """
    symbols, scale_indices = np.zeros(y.shape, np.int32), np.zeros(y.shape, np.int64)
    is_in_step = np.zeros(y.shape, bool)
    for part, prediction in zip(parts, predictions, strict=True):
        residuals = round_step(y[part], prediction, symbols[part], scale_indices[part])
        for p, mean, residual in zip(prediction.positions, prediction.means, residuals, strict=True):
            decoded[part][p], is_in_step[part][p] = (mean + residual) / UNITS, True
    if step == 0:
        gradient, curvature_ratio = before.gradient, before.curvature_ratio
    else:
        _, gradient, curvature_ratio = synthesis_gradient(refiner.engine, decoded, target, refiner.hundredths)
    return LatentState(y, decoded, symbols, scale_indices, gradient * is_in_step, curvature_ratio)
