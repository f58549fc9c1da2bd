"""Coding of refined latents in a closed loop: the gradient is renewed before context steps.

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
"""Inside the loop the gradient contains the final errors of earlier steps. So it gets a larger share than
``GRADIENT_SHARE``, and bits get a larger weight in hiding signs."""
TileSlices = tuple[slice, slice, slice]
"""A tile's latents in those of its window."""


def code_refined(refiner: Refiner, target: Target, refinement: Refinement) -> list[tuple[TileContent, np.ndarray]]:
    """Code the tiles of a refined window: for each its content, and the latents as a decoder will find them.

    With a single iteration only the last step is coded in the loop: a gradient takes as long as an iteration.
    """
    first_in_loop = STEPS - 1 if refiner.has_single_iteration else 0
    parts = [np.s_[:, rows, columns] for rows, columns in target.tiles]
    coding, decoded = refinement.coding, refinement.target.copy()
    y = pull_to_gradient(coding.state, decoded, GRADIENT_SHARE)
    encoders = [
        TileEncoder(refiner.engine, refiner.model, z_hat, y[part].shape, refiner.hundredths, hide=True)
        for z_hat, part in zip(coding.hyper, parts, strict=True)
    ]
    unfiltered = coding.unfiltered(target)
    gradient, curvature_ratio = coding.state.gradient, coding.state.curvature_ratio
    rng = np.random.default_rng(0)
    for step in range(STEPS):
        predictions = [encoder.predict() for encoder in encoders]
        latents, rate_weight = y, 1.0
        if step >= first_in_loop:
            symbols, scale_indices, is_predicted = _round_into(decoded, y, parts, predictions)
            if step:  # at the first step nothing has changed since the refinement
                _, gradient, curvature_ratio = synthesis_gradient(
                    refiner.engine, decoded, unfiltered, refiner.hundredths
                )
            state = LatentState(y, decoded, symbols, scale_indices, gradient * is_predicted, curvature_ratio)
            changed, predicted_gain = rdoq_step(refiner.costs, state, 1.0, rng)
            if predicted_gain < MAX_TRUSTED_GAIN:
                latents = pull_to_gradient(state, changed, LOOP_GRADIENT_SHARE)
                rate_weight = LOOP_RATE_WEIGHT
        TileEncoder.encode_step(encoders, predictions, [latents[part] for part in parts], rate_weight)
        for part, encoder, prediction in zip(parts, encoders, predictions, strict=True):
            for p in prediction.positions:
                decoded[part][p] = encoder.decoded[p] / UNITS
    return [(encoder.finish(), encoder.decoded) for encoder in encoders]


def _round_into(
    decoded: np.ndarray, y: np.ndarray, parts: list[TileSlices], predictions: list[Prediction]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Round the predicted latents of ``y`` into ``decoded``, both (M, h, w).

    Returns their symbols and scale indices, and which latents they are (bool), each (M, h, w).
    """
    symbols, scale_indices = np.zeros(y.shape, np.int32), np.zeros(y.shape, np.int64)
    is_predicted = np.zeros(y.shape, bool)
    for part, prediction in zip(parts, predictions, strict=True):
        residuals = round_step(y[part], prediction, symbols[part], scale_indices[part])
        for p, mean, residual in zip(prediction.positions, prediction.means, residuals, strict=True):
            decoded[part][p], is_predicted[part][p] = (mean + residual) / UNITS, True
    return symbols, scale_indices, is_predicted
