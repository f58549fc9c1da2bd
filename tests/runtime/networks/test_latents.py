"""The order of latents: each is decoded in one of four context steps, and arrays come back from what is coded."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.entropy.constants import SCALE_LEVELS, STEPS, UNITS
from codec.errors import ModelError
from codec.networks.engine import Engine
from codec.networks.latents import (
    concatenate,
    hyper_channels,
    hyper_shape,
    join_vectors,
    split_like,
    split_vectors,
    walk_steps,
)

GROUP = 4
shapes = st.tuples(st.just(GROUP * STEPS), st.integers(1, 9), st.integers(1, 9))


class FakeEngine(Engine):
    """Predicts means of 3 and scale indices of 5 everywhere, for the whole latents or a step's positions alone."""

    def __init__(self, shape, *, is_packed=False, change=lambda output: output):
        super().__init__(None, threads=1)
        self._shape, self._is_packed, self._change = shape, is_packed, change
        self.decoded = []

    def _load(self, graph):
        return FakeSession(partial(self._outputs, graph))

    def _outputs(self, graph, inputs):
        latents, height, width = self._shape
        if graph == "hyper_synthesis":
            rows, columns = hyper_shape(height, width)
            return [np.zeros((1, 2 * STEPS, 4 * rows, 4 * columns), np.float32)]
        self.decoded.append(inputs["decoded"].copy() if "decoded" in inputs else None)
        size = (-(-height // 2), -(-width // 2)) if self._is_packed else (height, width)
        return [self._change(np.full((1, latents, *size), value, np.float32)) for value in (3, 5)]


class FakeSession:
    def __init__(self, outputs_of):
        self._outputs_of = outputs_of

    def run(self, _names, inputs):
        return self._outputs_of(inputs)


def walk(engine, shape, residuals_of=lambda prediction: prediction.means):
    return walk_steps(engine, np.zeros((2, *hyper_shape(*shape[1:])), np.float32), 5000, shape, residuals_of)


@given(shapes, st.booleans())
def test_every_latent_is_decoded_in_exactly_one_step(shape, is_packed):
    times = np.zeros(shape, int)

    def count(prediction):
        for p, mean, scale_index in zip(prediction.positions, prediction.means, prediction.scale_indices, strict=True):
            times[p] += 1
            assert mean.shape == scale_index.shape == times[p].shape
        return prediction.means

    engine = FakeEngine(shape, is_packed=is_packed)
    decoded = walk(engine, shape, count)
    assert (times == 1).all() and (decoded == 6).all()
    assert engine.decoded[0] is None and len(engine.decoded) == STEPS
    shares = [np.count_nonzero(before) for before in engine.decoded[1:]]
    assert shares == sorted(shares)  # each step sees the latents of the steps before


@given(shapes, st.integers(0, 2**31))
def test_residuals_are_added_to_the_means(shape, seed):
    y = np.random.default_rng(seed).integers(-9, 9, shape).astype(np.float32)
    decoded = walk(FakeEngine(shape), shape, lambda prediction: prediction.residuals(y))
    assert np.array_equal(decoded, y * UNITS)


@given(shapes, st.sampled_from([1, 2, 4]), st.integers(0, 2**31))
def test_arrays_come_back_from_one_array_and_from_vectors(shape, length, seed):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=(GROUP, *shape[1:])) for _ in range(STEPS)]
    for back in (split_like(concatenate(arrays), arrays), split_vectors(join_vectors(arrays, length), arrays)):
        assert all(np.array_equal(a, b) for a, b in zip(arrays, back, strict=True))
    assert join_vectors(arrays, length).shape == (STEPS * arrays[0].size // length, length)


@given(st.integers(1, 5), st.integers(1, 70), st.integers(1, 70))
def test_hyper_latents_cover_all_latents_with_squares_of_four(count, height, width):
    rows, columns = hyper_shape(height, width)
    assert 4 * (rows - 1) < height <= 4 * rows and 4 * (columns - 1) < width <= 4 * columns
    channels = hyper_channels(count, height, width)
    assert np.array_equal(channels.reshape(count, -1)[:, 0], np.arange(count))
    assert len(channels) == count * rows * columns


def test_scale_indices_are_cut_to_the_levels():
    shape = (GROUP * STEPS, 3, 3)

    def check(prediction):
        assert all(scale_index.max() == SCALE_LEVELS - 1 for scale_index in prediction.scale_indices)
        return prediction.means

    walk(FakeEngine(shape, change=lambda output: 1000 * output), shape, check)


@pytest.mark.parametrize(
    "change",
    [
        lambda output: output[:, 1:],
        lambda output: output[:, :, 1:],
        lambda output: output[0],
        lambda output: output * np.nan,
        lambda output: output + np.inf,
    ],
    ids=["a channel less", "a row less", "another rank", "not a number", "infinite"],
)
def test_predictions_of_another_shape_or_not_finite_are_a_model_error(change):
    shape = (GROUP * STEPS, 5, 6)
    with pytest.raises(ModelError, match="context"):
        walk(FakeEngine(shape, change=change), shape)
