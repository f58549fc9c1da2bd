"""The principal filters, of which post-filters are weighted sums, and the graph that applies a post-filter."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from codec.container.nicm import FILTER_UNIT, FILTER_WEIGHTS, MAX_FILTER_WEIGHT
from codec.container.post_filter import unpack
from codec.decoding.post_filter import filter_inputs
from codec.encoding.post_filter import filter_statistics, fit_post_filter, in_coefficients
from codec.networks.engine import Engine
from codec_models.export.post_filters import post_filter_graph
from codec_models.training.fit_post_filters import COUNT, principal_filters


def smoothed(pixels, share):
    """``pixels`` (3, H, W) uint8 with a share of each taken by its neighbours to the left and right, in [0, 1]."""
    x = pixels / np.float32(255)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)), mode="edge")
    return ((1 - share) * x + share / 2 * (padded[:, :, :-2] + padded[:, :, 2:])).astype(np.float32)


@pytest.fixture(scope="module")
def filters():
    rng = np.random.default_rng(0)
    statistics = []
    for _ in range(120):
        pixels = rng.integers(0, 256, (3, 24, 24), np.uint8)
        statistics.append(filter_statistics(pixels, smoothed(pixels, rng.uniform(0, 0.3))))
    return principal_filters(statistics)


def test_filters_are_integers_in_the_range_of_model_files(filters):
    assert filters.dtype == np.int64 and filters.shape == (COUNT, 3, FILTER_WEIGHTS)
    assert 0 < np.abs(filters).max() <= MAX_FILTER_WEIGHT


def test_the_first_filters_undo_the_common_distortion_of_the_pictures(filters):
    pixels = np.random.default_rng(99).integers(0, 256, (3, 64, 64), np.uint8)
    x_hat = smoothed(pixels, 0.2)
    filters = filters * FILTER_UNIT
    (gram, match), error = filter_statistics(pixels, x_hat)
    post_filter = fit_post_filter(in_coefficients(filter_statistics(pixels, x_hat).equations, filters), 1e3)
    exponent, coefficients = unpack(post_filter, COUNT)
    weights = np.tensordot(coefficients * 2.0**-exponent, filters, axes=1)
    quadratic = np.einsum("cm,mn,cn->", weights, gram, weights)
    assert error - 2 * np.sum(weights * match.T) + quadratic < 0.3 * error
    assert np.abs(coefficients[:4]).max() == np.abs(coefficients).max()


def test_pictures_without_an_error_are_ignored():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (120, 3, 24, 24), np.uint8)
    statistics = [filter_statistics(x, smoothed(x, 0.2)) for x in pixels]
    exact = filter_statistics(pixels[0], pixels[0] / np.float32(255))
    assert np.array_equal(principal_filters([*statistics, exact]), principal_filters(statistics))


def test_the_graph_computes_the_same_in_onnx_reference_implementation(filtered):
    graph = post_filter_graph()
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)
    taps = filter_inputs(filtered.model.post_filters[0] / 50)._asdict()
    inputs = {"x_hat": np.random.default_rng(0).normal(0.5, 0.5, (1, 3, 6, 9)).astype(np.float32), **taps}
    (expected,) = ReferenceEvaluator(onnx.load_from_string(graph)).run(None, inputs)
    engine = Engine(filtered.model, threads=1)
    np.testing.assert_allclose(engine.run("post_filter", **inputs)[0], expected, atol=1e-5)
