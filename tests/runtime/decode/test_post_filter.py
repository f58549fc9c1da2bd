"""The filter that a file holds for its own picture: how it is coded, fit_post_filter, applied, and checked."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fuzz import with_header
from codec import Codec
from codec.container import nic, nicm
from codec.container.nicm import FILTER_WEIGHTS, MAX_FILTERS, POST_FILTER
from codec.container.post_filter import pack, unpack
from codec.decode.post_filter import PostFilter
from codec.encode import encoder
from codec.encode.post_filter import NormalEquations, filter_statistics, fit_post_filter, row_stride
from codec.errors import FormatError
from codec.metrics import psnr
from codec.networks.engine import Engine
from codec.networks.model import read_model
from conftest import made_picture

coordinates = st.lists(st.integers(-63, 63), max_size=MAX_FILTERS)


@given(st.integers(0, 15), coordinates)
def test_unpacking_is_the_inverse_of_packing(exponent, values):
    packed = pack(exponent, np.array(values, int))
    assert len(packed) <= nic.MAX_POST_FILTER
    found = unpack(packed, len(values))
    assert (found[0], found[1].tolist()) == (exponent, values)


@given(st.binary(min_size=1, max_size=40))
def test_any_bytes_are_a_filter_or_one_error(data):
    try:
        exponent, values = unpack(data, 20)
    except FormatError as error:
        assert "\n" not in str(error)
    else:
        assert 0 <= exponent < 16 and len(values) == 20 and np.abs(values).max() <= 63


def filtered_by(weights, x_hat):
    """``x_hat`` (3, H, W) under weights (3, FILTER_WEIGHTS), as FORMAT.md says it."""
    x = x_hat.clip(0, 1).astype(np.float64)
    _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2)), mode="edge")

    def pair(down, right, limit=9):
        sides = ((down, right), (-down, -right))
        return sum((padded[:, 2 + d : 2 + d + height, 2 + r : 2 + r + width] - x).clip(-limit, limit) for d, r in sides)

    around = [(0, 1), (0, 2), *((1, right) for right in range(-2, 3)), *((2, right) for right in range(-2, 3))]
    tone = x - 0.5
    seen = [
        *(pair(*place) for place in around),
        tone,
        *(pair(*place, limit=0.03) for place in ((0, 1), (1, 0), (0, 2), (2, 0))),
        pair(0, 1) * tone,
        pair(1, 0) * tone,
        pair(0, 1) * tone**2,
        pair(1, 0) * tone**2,
        tone**2,
        tone**3,
    ]
    seen = np.concatenate([np.stack(seen, axis=1).reshape(-1, height, width), np.ones((1, height, width))])
    return x + np.tensordot(weights, seen, axes=1)


def test_statistics_foresee_what_a_filter_does():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 30, 41), np.uint8)
    x_hat = (pixels / 255 + rng.normal(0, 0.1, pixels.shape)).astype(np.float32)
    weights = rng.normal(0, 0.02, (3, FILTER_WEIGHTS))
    found = filter_statistics(pixels, x_hat)
    quadratic = np.einsum("cm,mn,cn->", weights, found.gram, weights)
    foreseen = found.error - 2 * np.sum(weights * found.match.T) + quadratic
    assert foreseen == pytest.approx(np.square(filtered_by(weights, x_hat) - pixels / 255).sum(), rel=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (400, 300), (700, 900), (1200, 1100), (6000, 4000)])
def test_rows_of_every_phase_are_sampled(size):
    stride = row_stride(size[0] * size[1])
    rows = np.zeros((3, 1024, 16), np.float32)
    rows[:, ::8] = 0.5  # what only one row in eight shows
    error = filter_statistics(np.zeros(rows.shape, np.uint8), rows, stride).error
    assert error == pytest.approx(np.square(rows).sum(), rel=0.15)


@pytest.mark.parametrize("height", [1, 7, 64, 66, 130])
def test_the_graph_filters_as_the_weights_say(filtered, height):
    packed = pack(3, np.array([1, -2, 0, 3]))
    weights = np.tensordot([1 / 8, -2 / 8, 0, 3 / 8], filtered.model.post_filters[:4], axes=1)
    x_hat = np.random.default_rng(0).random((3, height, 9)).astype(np.float32)
    found = PostFilter(Engine(filtered.model, threads=1), filtered.model, packed)(x_hat)
    np.testing.assert_allclose(found, filtered_by(weights, x_hat), atol=1e-4)


def test_a_filter_is_fitted_only_where_it_pays(filtered):
    filters = filtered.model.post_filters
    picture = made_picture(90, 60, seed=99)
    decoded = np.asarray(filtered.decode(filtered.encode(picture, 40, fallback=False, effort=1)))
    pixels, x_hat = picture.transpose(2, 0, 1), decoded.transpose(2, 0, 1) / np.float32(255)
    exact = pixels / np.float32(255)
    assert fit_post_filter(NormalEquations.of(filters, filter_statistics(pixels, exact)), 1e4) == b""
    evidence = NormalEquations.of(filters, filter_statistics(pixels, x_hat))
    assert fit_post_filter(evidence, 1e-6) == b""
    post_filter = PostFilter(Engine(filtered.model, threads=1), filtered.model, fit_post_filter(evidence, 1e4))
    assert np.square(post_filter(x_hat) - exact).sum() < 0.85 * np.square(x_hat - exact).sum()
    assert fit_post_filter(NormalEquations.sum([evidence, evidence]), 1e4) == fit_post_filter(evidence, 2e4)


def test_nothing_that_is_not_finite_gives_a_filter(filtered):
    filters = filtered.model.post_filters
    broken = np.full((3, 20, 20), np.nan, np.float32)
    assert (
        fit_post_filter(NormalEquations.of(filters, filter_statistics(np.zeros(broken.shape, np.uint8), broken)), 1e4)
        == b""
    )


@pytest.mark.parametrize("shape", [(100, 70), (33, 50)])
def test_pictures_come_closer_by_their_filter_and_latents_stay(filtered, shape):
    pixels = made_picture(*shape)
    data = filtered.encode(pixels, 60, fallback=False)
    bare = with_header(data, post_filter=b"")
    assert len(bare) < len(data) <= len(bare) + 64
    assert np.array_equal(filtered.decode_latents(data)[1], filtered.decode_latents(bare)[1])
    assert psnr(pixels, np.asarray(filtered.decode(data))) > psnr(pixels, np.asarray(filtered.decode(bare))) + 1


def test_effort_one_and_models_without_filters_make_files_without(filtered, tiny):
    pixels = made_picture(100, 70)
    assert nic.reader(filtered.encode(pixels, 60, effort=1)).header.post_filter == b""
    assert nic.reader(tiny.encode(pixels, 60)).header.post_filter == b""


def test_tiles_of_one_colour_or_webp_want_no_filter(filtered):
    blocks = np.kron(np.random.default_rng(0).integers(0, 2, (9, 11, 3), np.uint8) * 255, np.ones((4, 4, 1), np.uint8))
    for pixels in (blocks, np.full((40, 40, 3), 77, np.uint8)):
        data = filtered.encode(pixels, 60)
        assert nic.reader(data).header.post_filter == b""
        assert np.array_equal(np.asarray(filtered.decode(data)), pixels)


@pytest.mark.parametrize("region", [(0, 0, 1, 1), (300, 200, 812, 640), (255, 255, 257, 257)])
def test_a_filtered_region_is_what_the_whole_picture_has_there(filtered, region, monkeypatch):
    monkeypatch.setattr(encoder, "SMALL_TILES_FROM", 0)
    data = filtered.encode(made_picture(900, 700), 30, fallback=False)
    assert nic.reader(data).header.post_filter
    whole = np.asarray(filtered.decode(data)).astype(int)
    left, top, right, bottom = region
    part = np.asarray(filtered.decode(data, region=region)).astype(int)
    assert abs(part - whole[top:bottom, left:right]).max() <= 1


def test_limits_hold_with_a_filter(filtered):
    pixels = made_picture(100, 70)
    data = filtered.encode_to_fit(pixels, max_bytes=450, fallback=False)
    assert nic.reader(data).header.post_filter and 400 < len(data) <= 450


@pytest.mark.parametrize("post_filter", [b"\x00" * 9, b"\x0f" + b"\xff" * 40, b"\x00\x00\x01\xff\xff"])
def test_filters_that_the_model_cannot_have_are_one_clear_error(filtered, post_filter):
    data = filtered.encode(made_picture(40, 40), 60, effort=1)
    with pytest.raises(FormatError, match="post-filter"):
        filtered.decode(with_header(data, post_filter=post_filter))


def test_a_filter_for_a_model_without_any_is_one_clear_error(tiny):
    data = tiny.encode(made_picture(40, 40), 60)
    with pytest.raises(FormatError, match="post-filter"):
        tiny.decode(with_header(data, post_filter=b"\x00"))


def changed(model, filters=None, graph=None):
    tables = json.loads(model.file.tables_json)
    graphs = dict(model.file.graphs)
    if filters is None:
        del tables["post_filters"]
    else:
        tables["post_filters"] = filters
    if graph is None:
        del graphs[POST_FILTER]
    else:
        graphs[POST_FILTER] = graph
    return Codec(read_model(nicm.write(model.metadata, graphs, tables)), threads=1)


def test_a_model_with_half_of_what_filters_need_is_refused(filtered):
    row = [[0] * FILTER_WEIGHTS] * 3
    for codec in (changed(filtered.model, filters=[row]), changed(filtered.model, graph=b"")):
        with pytest.raises(FormatError, match="post-filters"):
            codec.encode(made_picture(40, 40))


@pytest.mark.parametrize(
    "filters",
    [
        [],
        [[[0] * FILTER_WEIGHTS] * 2],
        [[[0] * 39] * 3],
        [[[1 << 21] * FILTER_WEIGHTS] * 3],
        [[[0] * FILTER_WEIGHTS] * 3] * (MAX_FILTERS + 1),
        "filters",
    ],
)
def test_a_model_with_filters_out_of_bounds_is_refused(filtered, filters):
    codec = changed(filtered.model, filters, filtered.model.file.graphs[POST_FILTER])
    with pytest.raises(FormatError, match="tables are not valid"):
        codec.encode(made_picture(40, 40))


@pytest.mark.parametrize("graph", [b"", b"\xff\xff"])
def test_a_filter_graph_that_does_not_run_is_one_clear_error(filtered, graph):
    codec = changed(filtered.model, json.loads(filtered.model.file.tables_json)["post_filters"], graph)
    data = codec.encode(made_picture(100, 70), 60, fallback=False)
    with pytest.raises(FormatError, match="post_filter"):
        codec.decode(data)


def test_refining_goes_on_for_the_filter_in_pictures_of_several_blocks(filtered, monkeypatch):
    monkeypatch.setattr(encoder, "LARGE_TILES_UP_TO", encoder.SMALL_TILES_FROM)
    pixels = made_picture(1100, 1040)
    data, latents = filtered.encode_with_latents(pixels, 30, effort=3)
    assert nic.reader(data).header.tiles == 4 and nic.reader(data).header.post_filter
    assert np.array_equal(filtered.decode_latents(data)[1], latents)
    before = filtered.encode(pixels, 30, effort=1)
    weight = filtered.model.lambda_at(0.3) * pixels[..., 0].size

    def cost(found):
        return 8 * len(found) + weight * 10 ** (-psnr(pixels, np.asarray(filtered.decode(found))) / 10)

    assert cost(data) < 0.995 * cost(before)
