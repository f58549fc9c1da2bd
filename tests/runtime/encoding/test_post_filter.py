"""Choosing a picture's post-filter: its statistics, the fit, and which files have one."""

import numpy as np
import pytest

from benchmarks.fuzz import with_header
from codec.container import nic
from codec.container.nicm import FILTER_WEIGHTS
from codec.decoding.post_filter import PostFilter
from codec.encoding import plan
from codec.encoding.post_filter import filter_statistics, fit_post_filter, in_coefficients, row_stride, sum_equations
from codec.metrics import psnr
from codec.networks.engine import Engine
from conftest import filter_as_documented, made_picture


def test_the_statistics_predict_the_error_behind_a_filter():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 30, 41), np.uint8)
    x_hat = (pixels / 255 + rng.normal(0, 0.1, pixels.shape)).astype(np.float32)
    weights = rng.normal(0, 0.02, (3, FILTER_WEIGHTS))
    equations, error = filter_statistics(pixels, x_hat)
    quadratic = np.einsum("cm,mn,cn->", weights, equations.gram, weights)
    predicted = error - 2 * np.sum(weights * equations.match.T) + quadratic
    actual = np.square(filter_as_documented(weights, x_hat) - pixels / 255).sum()
    assert predicted == pytest.approx(actual, rel=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (400, 300), (700, 900), (1200, 1100), (6000, 4000)])
def test_rows_of_every_phase_are_sampled(size):
    stride = row_stride(size[0] * size[1])
    rows = np.zeros((3, 1024, 16), np.float32)
    rows[:, ::8] = 0.5  # an error in one row of eight
    error = filter_statistics(np.zeros(rows.shape, np.uint8), rows, stride).error
    assert error == pytest.approx(np.square(rows).sum(), rel=0.15)


def test_a_filter_is_fitted_only_where_it_pays(filtered):
    filters = filtered.model.post_filters
    picture = made_picture(90, 60, seed=99)
    decoded = np.asarray(filtered.decode(filtered.encode(picture, 40, fallback=False, effort=1)))
    pixels, x_hat = picture.transpose(2, 0, 1), decoded.transpose(2, 0, 1) / np.float32(255)
    exact = pixels / np.float32(255)
    assert fit_post_filter(in_coefficients(filter_statistics(pixels, exact).equations, filters), 1e4) == b""
    equations = in_coefficients(filter_statistics(pixels, x_hat).equations, filters)
    assert fit_post_filter(equations, 1e-6) == b""
    post_filter = PostFilter(Engine(filtered.model, threads=1), filtered.model, fit_post_filter(equations, 1e4))
    assert np.square(post_filter(x_hat) - exact).sum() < 0.85 * np.square(x_hat - exact).sum()
    assert fit_post_filter(sum_equations([equations, equations]), 1e4) == fit_post_filter(equations, 2e4)


def test_values_that_are_not_finite_give_no_filter(filtered):
    broken = np.full((3, 20, 20), np.nan, np.float32)
    statistics = filter_statistics(np.zeros(broken.shape, np.uint8), broken)
    assert fit_post_filter(in_coefficients(statistics.equations, filtered.model.post_filters), 1e4) == b""


@pytest.mark.parametrize("shape", [(100, 70), (33, 50)])
def test_a_filter_brings_pictures_closer_and_does_not_change_latents(filtered, shape):
    pixels = made_picture(*shape)
    data = filtered.encode(pixels, 60, fallback=False)
    unfiltered = with_header(data, post_filter=b"")
    assert len(unfiltered) < len(data) <= len(unfiltered) + 64
    assert np.array_equal(filtered.decode_latents(data)[1], filtered.decode_latents(unfiltered)[1])
    psnr_without, psnr_with = (psnr(pixels, np.asarray(filtered.decode(file))) for file in (unfiltered, data))
    assert psnr_with > psnr_without + 1


def test_effort_one_and_models_without_filters_give_files_without(filtered, tiny):
    pixels = made_picture(100, 70)
    assert nic.reader(filtered.encode(pixels, 60, effort=1)).header.post_filter == b""
    assert nic.reader(tiny.encode(pixels, 60)).header.post_filter == b""


def test_pictures_of_one_colour_or_stored_as_webp_get_no_filter(filtered):
    squares = np.kron(np.random.default_rng(0).integers(0, 2, (9, 11, 3), np.uint8) * 255, np.ones((4, 4, 1), np.uint8))
    for pixels in (squares, np.full((40, 40, 3), 77, np.uint8)):
        data = filtered.encode(pixels, 60)
        assert nic.reader(data).header.post_filter == b""
        assert np.array_equal(np.asarray(filtered.decode(data)), pixels)


def test_a_limit_on_bytes_holds_with_a_filter(filtered):
    pixels = made_picture(100, 70)
    data = filtered.encode_to_fit(pixels, max_bytes=450, fallback=False)
    assert nic.reader(data).header.post_filter and 400 < len(data) <= 450


def test_refining_takes_the_filter_into_account_in_pictures_of_several_windows(filtered, monkeypatch):
    monkeypatch.setattr(plan, "tile_exponent", lambda _pixels: 2)
    monkeypatch.setattr(plan, "WINDOW", 16)  # a window for each tile of 256 pixels
    pixels = made_picture(400, 300)
    data, latents = filtered.encode_with_latents(pixels, 30, effort=3)
    assert nic.reader(data).header.tiles == 4 and nic.reader(data).header.post_filter
    assert np.array_equal(filtered.decode_latents(data)[1], latents)
    weight = filtered.model.lambda_at(0.3) * pixels[..., 0].size

    def cost(file):
        return 8 * len(file) + weight * 10 ** (-psnr(pixels, np.asarray(filtered.decode(file))) / 10)

    assert cost(data) < 0.995 * cost(filtered.encode(pixels, 30, effort=1))
