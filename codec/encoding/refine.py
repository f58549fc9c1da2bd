"""Refining: the symbols of one picture are chosen by iterated RDOQ through the fixed synthesis.

The analysis gives each picture the latents that were best on average. Here rate and distortion of the one picture are
minimised over its integer symbols, along the gradient of the synthesis. Format and decoder do not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from codec.decoding.post_filter import PostFilter
from codec.encoding.latents import hyper_latents, symbols_of
from codec.encoding.rdoq import SINGLE_ITERATION_SCALE, LatentState, clip_to_bin, rdoq_step
from codec.encoding.symbol_costs import SymbolCosts, symbol_costs
from codec.encoding.synthesis_gradient import Target, synthesis_gradient
from codec.entropy.constants import UNITS, unit_quality
from codec.errors import ArgumentError, ModelError
from codec.networks.engine import Engine
from codec.networks.latents import Prediction, StepArrays, walk_steps
from codec.networks.model import Model

ITERATIONS = {1: 0, 2: 1, 3: 2, 4: 8, 5: 16}
"""Iterations for each effort."""
DEFAULT_EFFORT = 2
SCALE_UP, SCALE_DOWN = 1.07, 0.8
"""Factors of the step scale after an iteration that gained, and after one that did not."""
BACKTRACK_TOLERANCE = 1.02
"""Accept a step that costs up to 2 % more than the best; otherwise go back to the best."""
MAX_TRUSTED_GAIN = 0.5
"""A step is made without a check of what it gave only if it predicts a gain of less than this share of the bits.
Photographs predict up to 0.2; pictures unlike any that the model has seen several times as much, and gain nothing."""


class Coding(NamedTuple):
    """What coding a window's latents gives."""

    state: LatentState
    hyper: list[np.ndarray]  # each tile's hyper-latents
    x_hat: np.ndarray  # (3, 16h, 16w): what the synthesis makes of the latents
    filtered: np.ndarray  # as x_hat, behind the post-filter

    def unfiltered(self, target: Target) -> Target:
        """``target`` before the post-filter: the filter changes little, so what it adds here is subtracted."""
        return target._replace(x=target.x - (self.filtered - self.x_hat))

    def filtered_by(self, post_filter: PostFilter | None) -> Coding:
        """The same with another post-filter, or none."""
        return self._replace(filtered=self.x_hat if post_filter is None else post_filter(self.x_hat))


class Refinement(NamedTuple):
    """The result of refining a window's latents."""

    coding: Coding  # of the least cost
    target: np.ndarray  # (M, h, w): the latents that decoders are to get


@dataclass(frozen=True)
class Refiner:
    """Refines latents of ``model`` at a quality, with a number of iterations that follows from the effort."""

    engine: Engine
    model: Model
    hundredths: int
    iterations: int

    @property
    def lambda_(self) -> float:
        """Bits for each unit of squared error of a colour of a pixel, in [0, 1]."""
        return self.model.lambda_at(unit_quality(self.hundredths)) / 3

    @property
    def costs(self) -> SymbolCosts:
        """What symbols cost under the model's tables."""
        return symbol_costs(self.model)

    @property
    def has_single_iteration(self) -> bool:
        """Whether there is one iteration, whose gain is not checked: the check takes as long as another iteration."""
        return self.iterations == 1

    @property
    def knows_post_filter(self) -> bool:
        """Whether refining is done in two rounds, the second of which knows the picture's post-filter."""
        return self.iterations > 1 and self.model.post_filters is not None

    def refine(
        self,
        target: Target,
        y: np.ndarray,
        iterations: int,
        post_filter: PostFilter | None = None,
        coding: Coding | None = None,
    ) -> Refinement:
        """Refine the latents ``y`` of a window by RDOQ.

        Args:
            y: (M, h, w) float, in quantisation steps; outside the tiles it is rounded.
            iterations: at least 1.
            post_filter: what decoders will use.
            coding: of ``y`` without a post-filter, where that is known.
        """
        rng = np.random.default_rng(0)
        best = (coding or self.code(target, y)).filtered_by(post_filter)
        if self.has_single_iteration:
            latents, predicted_gain = rdoq_step(self.costs, best.state, SINGLE_ITERATION_SCALE, rng)
            if predicted_gain < MAX_TRUSTED_GAIN:
                return Refinement(best, latents)
        current, cost = best, self.cost(best, target)
        step_scale, least_cost = 1.0, cost
        for _ in range(iterations):
            latents, _ = rdoq_step(self.costs, current.state, step_scale, rng)
            candidate = self.code(current.unfiltered(target), clip_to_bin(current.state.y, latents)).filtered_by(
                post_filter
            )
            previous_cost, cost = cost, self.cost(candidate, target)
            step_scale *= SCALE_UP if cost < previous_cost else SCALE_DOWN
            if cost < least_cost:
                best, least_cost = candidate, cost
            is_near = cost < BACKTRACK_TOLERANCE * least_cost
            current, cost = (candidate, cost) if is_near else (best, least_cost)
        return Refinement(best, best.state.decoded)

    def cost(self, coding: Coding, target: Target) -> float:
        """Rate plus lambda * squared error, in bits."""
        bits = float(self.costs.bits_of(coding.state.symbols, coding.state.scale_indices).sum())
        for z_hat in coding.hyper:
            bits += self.costs.hyper_bits(z_hat)
        return bits + float((target.weight * np.square(coding.filtered - target.x)).sum())

    def code(self, target: Target, y: np.ndarray) -> Coding:
        """Code ``y`` (M, h, w) by rounding; compute what decoders make of it, and the gradient there."""
        decoded, hyper = np.rint(y), []
        symbols, scale_indices = np.zeros(y.shape, np.int32), np.zeros(y.shape, np.int64)
        for rows, columns in target.tiles:
            part = np.s_[:, rows, columns]
            z_hat = hyper_latents(self.engine, y[part])
            residuals = partial(round_step, y[part], symbols=symbols[part], scale_indices=scale_indices[part])
            decoded[part] = walk_steps(self.engine, z_hat, self.hundredths, y[part].shape, residuals) / UNITS
            hyper.append(z_hat)
        gradient = synthesis_gradient(self.engine, decoded, target, self.hundredths)
        state = LatentState(y, decoded, symbols, scale_indices, gradient.by_latent, gradient.curvature_ratio)
        return Coding(state, hyper, gradient.x_hat, gradient.x_hat)


def round_step(y: np.ndarray, prediction: Prediction, symbols: np.ndarray, scale_indices: np.ndarray) -> StepArrays:
    """Round a step's latents of ``y`` (M, h, w): their residuals, in units of ``2**-MEAN_SHIFT``.

    Their symbols and scale indices are written into the arrays (M, h, w).
    """
    parts = zip(prediction.positions, prediction.residuals(y), prediction.scale_indices, strict=True)
    for p, residual, scale_index in parts:
        symbols[p], scale_indices[p] = symbols_of(residual), scale_index
    return [symbols[p] * np.float32(UNITS) for p in prediction.positions]


def refiner_for(engine: Engine, model: Model, hundredths: int, effort: int | None) -> Refiner | None:
    """The refiner for an effort of ``ITERATIONS``; None for one that leaves latents as they are.

    Without an effort, ``DEFAULT_EFFORT`` where the model's latents can be refined, and no refining elsewhere.

    Raises:
        ArgumentError: for an effort outside 1 to 5.
        ModelError: when the model's latents cannot be refined.
    """
    if effort is None:
        effort = DEFAULT_EFFORT if model.has_gradient else min(ITERATIONS)
    if effort not in ITERATIONS:
        raise ArgumentError(f"effort {effort} is not one of {min(ITERATIONS)} to {max(ITERATIONS)}")
    if ITERATIONS[effort] and not model.has_gradient:
        raise ModelError(f"the model file holds no gradient, which an effort above {min(ITERATIONS)} needs")
    return Refiner(engine, model, hundredths, ITERATIONS[effort]) if ITERATIONS[effort] else None
