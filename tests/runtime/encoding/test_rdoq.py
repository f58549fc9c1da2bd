"""Rate-distortion optimised quantisation: the bound of the curvature, the step, and the pull within a cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from codec.encoding.rdoq import (
    BIN_MARGIN,
    CURVATURE,
    LatentState,
    clip_to_bin,
    curvature_ratio,
    pull_to_gradient,
    rdoq_step,
)
from codec.encoding.symbol_costs import symbol_costs

latents = arrays(np.float64, (2, 3, 4), elements=st.floats(-9, 9))


def test_the_curvature_is_never_overrated_and_exact_along_a_single_direction():
    rng = np.random.default_rng(0)
    for rank in (1, 2, 8):
        jacobian = rng.normal(size=(48, rank)) @ rng.normal(size=(rank, 8))
        largest = 2 * np.linalg.norm(jacobian, 2) ** 2  # of |jacobian @ latents + residual|^2, by the latents
        for residual in (rng.normal(size=48), jacobian @ rng.normal(size=8)):
            gradient = (2 * jacobian.T @ residual).reshape(8, 1, 1)
            curvature = CURVATURE * curvature_ratio(gradient, np.square(residual).sum().reshape(1, 1))[0, 0]
            assert curvature <= max(CURVATURE, 1.000001 * largest)
    assert curvature > 0.2 * largest  # of a residual that latents can make up for
    single = np.outer(residual, rng.normal(size=8))
    gradient = (2 * single.T @ residual).reshape(8, 1, 1)
    curvature = CURVATURE * curvature_ratio(gradient, np.square(residual).sum().reshape(1, 1))[0, 0]
    assert curvature == pytest.approx(2 * np.linalg.norm(single, 2) ** 2)


def state_of(symbols, gradient):
    shape = np.shape(symbols)
    y = np.array(symbols, float)
    return LatentState(y, y.copy(), np.array(symbols), np.full(shape, 20), gradient, np.ones(shape[1:]))


def test_a_step_changes_latents_by_at_most_one_and_against_the_gradient(filtered):
    rng = np.random.default_rng(0)
    symbols = rng.integers(-3, 4, (4, 8, 8))
    gradient = rng.normal(0, 60, symbols.shape)
    state = state_of(symbols, gradient)
    target, predicted_gain = rdoq_step(symbol_costs(filtered.model), state, 1.0, rng)
    changes = target - state.decoded
    assert set(np.unique(changes)) == {-1, 0, 1} and predicted_gain > 0
    is_clear = np.abs(gradient) > 60  # more than any bits that a change costs
    assert (changes * gradient)[is_clear].max() <= 0


def test_a_step_leaves_zeros_without_a_gradient_as_they_are(filtered):
    state = state_of(np.zeros((4, 8, 8), int), np.zeros((4, 8, 8)))
    target, predicted_gain = rdoq_step(symbol_costs(filtered.model), state, 1.0, np.random.default_rng(0))
    assert not target.any() and predicted_gain == 0


@given(latents, latents)
def test_latents_in_a_cell_are_rounded_to_its_value(y, values):
    target = np.rint(values)
    clipped = clip_to_bin(y, target)
    assert np.array_equal(np.rint(clipped), target)
    is_inside = np.abs(y - target) <= BIN_MARGIN
    assert np.array_equal(clipped[is_inside], y[is_inside])


@given(latents, latents, st.floats(0, 1))
def test_pulling_to_the_gradient_stays_in_the_cell(y, gradient, share):
    state = state_of(np.zeros(y.shape, int), gradient)._replace(y=y)
    target = np.rint(y)
    assert np.array_equal(np.rint(pull_to_gradient(state, target, share)), target)
