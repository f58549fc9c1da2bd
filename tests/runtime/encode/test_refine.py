"""Encode time buys bits: what effort does to files, and which models can do it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec import Codec
from codec.container import nicm
from codec.container.nic import reader
from codec.container.nicm import GRADIENT
from codec.encode import encoder
from codec.encode.rdoq import CURVATURE, curvature_ratio
from codec.encode.refine import ITERATIONS, Refiner
from codec.entropy.constants import STEPS
from codec.errors import CodecError, FormatError
from codec.metrics import psnr
from codec.networks.model import load_model, read_model
from conftest import made_picture

SAMPLE = Path(__file__).parents[2] / "samples" / "coffee.png"


@pytest.fixture(scope="module")
def codec():
    return Codec(load_model(), threads=1)


@pytest.fixture(scope="module")
def photograph():
    with Image.open(SAMPLE) as picture:
        return np.asarray(picture.convert("RGB"))[60:250, 160:350]  # sides that are no multiple of 16


def cost(codec, pixels, quality, effort):
    """Rate and distortion as the model weighs them, in bits a pixel, of a real file."""
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
def test_closing_the_loop_costs_less(codec, photograph, effort, quality, monkeypatch):
    closed = cost(codec, photograph, quality, effort)
    monkeypatch.setattr(Refiner, "open_steps", STEPS)
    assert closed < 0.998 * cost(codec, photograph, quality, effort)


def test_slopes_show_no_more_curvature_than_there_is_and_all_of_a_single_direction():
    rng = np.random.default_rng(0)
    for rank in (1, 2, 8):
        jacobian = rng.normal(size=(48, rank)) @ rng.normal(size=(rank, 8))
        largest = 2 * np.linalg.norm(jacobian, 2) ** 2  # of |jacobian @ latents + rest|^2, by the latents
        for rest in (rng.normal(size=48), jacobian @ rng.normal(size=8)):
            slope = 2 * jacobian.T @ rest
            found = CURVATURE * curvature_ratio(slope.reshape(8, 1, 1), np.square(rest).sum().reshape(1, 1))[0, 0]
            assert found <= max(CURVATURE, 1.000001 * largest)
    assert found > 0.2 * largest  # of an error that is the synthesis' own making
    single = np.outer(rest, rng.normal(size=8))
    slope = (2 * single.T @ rest).reshape(8, 1, 1)
    found = CURVATURE * curvature_ratio(slope, np.square(rest).sum().reshape(1, 1))[0, 0]
    assert found == pytest.approx(2 * np.linalg.norm(single, 2) ** 2)


def test_tiles_of_a_block_are_coded_side_by_side(codec, photograph, monkeypatch):
    pixels = np.tile(photograph, (2, 2, 1))[:200, :300]
    whole, tiled = [], []
    for found, small_from in ((whole, encoder.SMALL_TILES_FROM), (tiled, 0)):
        monkeypatch.setattr(encoder, "SMALL_TILES_FROM", small_from)
        found += [[cost(codec, pixels, quality, effort) for quality in (20, 40, 60)] for effort in (1, 3)]
    assert reader(codec.encode(pixels, 40, effort=3)).header.tile_size == 256
    # Tiles cost a little, the more the smaller the picture is; refining finds as much in them.
    plain, refined = np.divide(tiled, whole).mean(axis=1)
    assert 1 < plain < 1.02 and refined < 1.015 * plain


def test_blocks_are_refined_for_what_lies_around_them(codec, photograph, monkeypatch):
    monkeypatch.setattr(encoder, "SMALL_TILES_FROM", 0)
    monkeypatch.setattr(encoder, "BLOCK", 16)  # a block for each tile: as many edges as there can be
    pixels = np.tile(photograph, (2, 2, 1))
    pixels[256:, 256:] = pixels[300, 300]  # a block whose neighbours see no latents in it
    costs = []
    for cells in (0, encoder.SURROUNDINGS):
        monkeypatch.setattr(encoder, "SURROUNDINGS", cells)
        costs.append([cost(codec, pixels, quality, effort) for quality in (20, 60) for effort in (2, 3)])
    alone, surrounded = np.array(costs)
    assert (surrounded < 0.999 * alone).all() and surrounded.sum() < 0.99 * alone.sum()


def test_the_same_effort_gives_the_same_file_and_two_is_the_default(codec, photograph):
    data = codec.encode(photograph, 40, effort=2)
    assert data == codec.encode(photograph, 40) != codec.encode(photograph, 40, effort=1)
    assert codec.encode(photograph, 40, effort=3) == codec.encode(photograph, 40, effort=3)


@pytest.mark.parametrize("quality", [0, 25, 60])
def test_what_the_model_never_saw_does_not_cost_more(codec, quality):
    rng = np.random.default_rng(0)
    squares = np.kron(rng.integers(0, 2, (12, 12, 3)) * 255, np.ones((16, 16, 1))).astype(np.uint8)
    for pixels in (squares, made_picture(150, 150), rng.integers(0, 256, (64, 96, 3), np.uint8)):
        plain = cost(codec, pixels, quality, 1)
        assert all(cost(codec, pixels, quality, effort) <= 1.005 * plain for effort in (2, 3))


def test_limits_hold_with_effort(codec, photograph):
    data = codec.encode_to_fit(photograph, max_bytes=2500, effort=3)
    assert 2400 < len(data) <= 2500
    data = codec.encode_to_fit(photograph, min_psnr=31)
    # Hidden signs move the PSNR of so small a picture by a tenth from one quality to the next.
    assert 31 <= psnr(photograph, np.asarray(codec.decode(data))) < 31.3


def test_models_without_a_gradient_have_one_effort(tiny):
    pixels = made_picture(60, 40)
    assert tiny.encode(pixels, 40) == tiny.encode(pixels, 40, effort=1)
    with pytest.raises(CodecError, match="no gradient"):
        tiny.encode(pixels, 40, effort=2)


@pytest.mark.parametrize("effort", [0, 10, -1])
def test_other_efforts_are_refused(codec, photograph, effort):
    assert effort not in ITERATIONS
    with pytest.raises(FormatError, match="1 to 9"):
        codec.encode(photograph, 40, effort=effort)


def with_changes(model, metadata=None, gradient=None):
    graphs = {**model.file.graphs, GRADIENT: model.file.graphs[GRADIENT] if gradient is None else gradient}
    changed = nicm.write({**model.metadata, **(metadata or {})}, graphs, json.loads(model.file.tables_json))
    return Codec(read_model(changed), threads=1)


@pytest.mark.parametrize("gradient", [b"", b"\xff\xff", b"\x3a\x00"])
def test_a_gradient_that_does_not_run_is_one_clear_error(codec, photograph, gradient):
    damaged = with_changes(codec.model, gradient=gradient)
    with pytest.raises(FormatError, match="gradient"):
        damaged.encode(photograph, 40)
    damaged.encode(photograph, 40, effort=1)


@pytest.mark.parametrize(
    "recipe",
    [None, [], {}, {"lambda_min": 0.1}, {"lambda_min": "1", "lambda_max": 1.0}, {"lambda_min": 0.0, "lambda_max": 1.0}],
)
def test_a_model_that_does_not_say_what_it_was_trained_for_is_one_clear_error(codec, photograph, recipe):
    with pytest.raises(FormatError, match="how it was trained"):
        with_changes(codec.model, metadata={"recipe": recipe}).encode(photograph, 40)
