"""Encode time buys bits: the rate-distortion cost at each effort, and the models that allow refining."""

import json

import numpy as np
import pytest
from PIL import Image

from codec import Codec
from codec.container import nicm
from codec.container.nic import reader
from codec.container.nicm import GRADIENT
from codec.encoding import plan, settle
from codec.encoding.refine import ITERATIONS
from codec.errors import ArgumentError, ModelError
from codec.metrics import psnr
from codec.networks.model import load_model, read_model
from conftest import SAMPLES, made_picture


@pytest.fixture(scope="module")
def codec():
    return Codec(load_model(), threads=1)


@pytest.fixture(scope="module")
def photograph():
    with Image.open(SAMPLES / "coffee.png") as picture:
        return np.asarray(picture.convert("RGB"))[60:250, 160:350]  # sides that are no multiple of 16


def cost(codec, pixels, quality, effort):
    """Rate and distortion as the model weighs them, in bits per pixel, of a real file."""
    data = codec.encode(pixels, quality, fallback=False, effort=effort)
    mse = 10 ** (-psnr(pixels, np.asarray(codec.decode(data))) / 10)
    return 8 * len(data) / pixels[..., 0].size + codec.model.lambda_at(quality / 100) * mse


def test_a_photograph_costs_less_with_every_effort(codec, photograph):
    qualities = (10, 25, 40, 80)  # at one quality of so small a picture efforts 2 to 4 differ by chance
    costs = np.array([[cost(codec, photograph, quality, effort) for quality in qualities] for effort in (1, 2, 3, 4)])
    assert (costs[1:] < 0.98 * costs[0]).all()
    _, default, *higher = (costs / costs[0]).mean(axis=1)
    assert max(higher) < default < 0.96
    assert higher[1] < 0.995 * default


@pytest.mark.parametrize(("effort", "quality"), [(2, 50), (2, 90), (3, 50), (3, 90)])
def test_coding_in_a_closed_loop_costs_less(codec, photograph, effort, quality, monkeypatch):
    in_loop = cost(codec, photograph, quality, effort)
    monkeypatch.setattr("codec.encoding.closed_loop.MAX_TRUSTED_GAIN", 0.0)  # the loop changes nothing
    assert in_loop < 0.998 * cost(codec, photograph, quality, effort)


def test_the_tiles_of_a_window_cost_little_more_than_one_tile(codec, photograph, monkeypatch):
    pixels = np.tile(photograph, (2, 2, 1))[:200, :300]
    in_one_tile, in_tiles = [], []
    for costs, small_tile_pixels in ((in_one_tile, plan.SMALL_TILE_PIXELS), (in_tiles, 0)):
        monkeypatch.setattr(plan, "SMALL_TILE_PIXELS", small_tile_pixels)
        costs += [[cost(codec, pixels, quality, effort) for quality in (20, 40, 60)] for effort in (1, 3)]
    assert reader(codec.encode(pixels, 40, effort=3)).header.tile_size == 256
    # Tiles cost a little, the more the smaller the picture is; refining gains as much in them.
    plain, refined = np.divide(in_tiles, in_one_tile).mean(axis=1)
    assert 1 < plain < 1.02 and refined < 1.015 * plain


def test_refining_with_a_margin_around_windows_costs_less(codec, photograph, monkeypatch):
    monkeypatch.setattr(plan, "tile_exponent", lambda _pixels: 1)
    monkeypatch.setattr(plan, "WINDOW", 8)  # a window for each tile of 128 pixels: as many edges as possible
    pixels = photograph.copy()
    pixels[128:, 128:] = pixels[150, 150]  # a window without latents beside the others
    costs = []
    for margin in (0, plan.MARGIN):
        monkeypatch.setattr(plan, "MARGIN", margin)
        monkeypatch.setattr(settle, "MARGIN", margin)
        costs.append([cost(codec, pixels, quality, effort) for quality in (20, 60) for effort in (2, 3)])
    without, with_margin = np.array(costs)
    assert (with_margin < 0.999 * without).all() and with_margin.sum() < 0.99 * without.sum()


def test_the_same_effort_gives_the_same_file_and_two_is_the_default(codec, photograph):
    data = codec.encode(photograph, 40, effort=2)
    assert data == codec.encode(photograph, 40) != codec.encode(photograph, 40, effort=1)
    assert codec.encode(photograph, 40, effort=3) == codec.encode(photograph, 40, effort=3)


@pytest.mark.parametrize("quality", [0, 25, 60])
def test_pictures_unlike_any_in_training_do_not_cost_more(codec, quality):
    rng = np.random.default_rng(0)
    squares = np.kron(rng.integers(0, 2, (8, 8, 3)) * 255, np.ones((16, 16, 1))).astype(np.uint8)
    for pixels in (squares, made_picture(110, 100), rng.integers(0, 256, (64, 80, 3), np.uint8)):
        plain = cost(codec, pixels, quality, 1)
        assert all(cost(codec, pixels, quality, effort) <= 1.005 * plain for effort in (2, 3))


def test_limits_hold_with_effort(filtered):
    pixels = made_picture(200, 160)
    limit = len(filtered.encode(pixels, 50, fallback=False, effort=3)) + 30
    data = filtered.encode_to_fit(pixels, max_bytes=limit, fallback=False, effort=3)
    assert 0.96 * limit < len(data) <= limit
    min_psnr = psnr(pixels, np.asarray(filtered.decode(filtered.encode(pixels, 50, fallback=False)))) - 0.2
    data = filtered.encode_to_fit(pixels, min_psnr=min_psnr, fallback=False)
    # Hidden signs change the PSNR of so small a picture by a tenth from one quality to the next.
    assert min_psnr <= psnr(pixels, np.asarray(filtered.decode(data))) < min_psnr + 0.3


def test_models_without_a_gradient_have_one_effort(tiny):
    pixels = made_picture(60, 40)
    assert tiny.encode(pixels, 40) == tiny.encode(pixels, 40, effort=1)
    with pytest.raises(ModelError, match="no gradient"):
        tiny.encode(pixels, 40, effort=2)


def test_all_efforts_give_files_that_decode_to_their_latents(filtered):
    assert list(ITERATIONS) == [1, 2, 3, 4, 5]
    pixels = made_picture(60, 40)
    for effort in ITERATIONS:
        data, latents = filtered.encode_with_latents(pixels, 40, fallback=False, effort=effort)
        assert np.array_equal(filtered.decode_latents(data)[1], latents)


@pytest.mark.parametrize("effort", [0, 6, 10, -1])
def test_other_efforts_are_an_argument_error(filtered, effort):
    assert effort not in ITERATIONS
    with pytest.raises(ArgumentError, match="1 to 5"):
        filtered.encode(made_picture(60, 40), 40, effort=effort)


def codec_with(model, metadata=None, gradient=None):
    """A codec with changed metadata or another gradient graph."""
    graphs = {**model.file.graphs, GRADIENT: model.file.graphs[GRADIENT] if gradient is None else gradient}
    data = nicm.write({**model.metadata, **(metadata or {})}, graphs, json.loads(model.file.tables_json))
    return Codec(read_model(data), threads=1)


@pytest.mark.parametrize("gradient", [b"", b"\xff\xff", b"\x3a\x00"])
def test_a_gradient_graph_that_does_not_run_is_a_model_error(filtered, gradient):
    damaged = codec_with(filtered.model, gradient=gradient)
    with pytest.raises(ModelError, match="gradient"):
        damaged.encode(made_picture(60, 40), 40)
    damaged.encode(made_picture(60, 40), 40, effort=1)


@pytest.mark.parametrize(
    "recipe",
    [None, [], {}, {"lambda_min": 0.1}, {"lambda_min": "1", "lambda_max": 1.0}, {"lambda_min": 0.0, "lambda_max": 1.0}],
)
def test_a_model_that_does_not_say_how_it_was_trained_is_a_model_error(filtered, recipe):
    with pytest.raises(ModelError, match="how it was trained"):
        codec_with(filtered.model, metadata={"recipe": recipe}).encode(made_picture(60, 40), 40)
