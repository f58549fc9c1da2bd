"""A picture's post-filter in the decoder: how it is applied, and which filters and models are refused."""

import dataclasses
import json

import numpy as np
import pytest

from benchmarks.fuzz import with_header
from codec import Codec
from codec.container import nic, nicm
from codec.container.nicm import FILTER_WEIGHTS, MAX_FILTERS, POST_FILTER
from codec.container.post_filter import pack
from codec.decoding.post_filter import PostFilter
from codec.errors import FormatError, ModelError
from codec.networks.engine import Engine
from codec.networks.model import Model, read_model
from conftest import filter_as_documented, made_picture


@pytest.mark.parametrize("height", [1, 7, 64, 66, 130])
def test_the_graph_filters_as_the_weights_say(filtered, height):
    packed = pack(3, np.array([1, -2, 0, 3]))
    weights = np.tensordot([1 / 8, -2 / 8, 0, 3 / 8], filtered.model.post_filters[:4], axes=1)
    x_hat = np.random.default_rng(0).random((3, height, 9)).astype(np.float32)
    result = PostFilter(Engine(filtered.model, threads=1), filtered.model, packed)(x_hat)
    np.testing.assert_allclose(result, filter_as_documented(weights, x_hat), atol=1e-4)


@pytest.mark.usefixtures("small_tiles")
def test_a_filtered_region_is_the_same_in_the_whole_picture(filtered):
    data = filtered.encode(made_picture(600, 500), 30, fallback=False)
    assert nic.reader(data).header.post_filter
    whole = np.asarray(filtered.decode(data)).astype(int)
    for left, top, right, bottom in [(0, 0, 1, 1), (300, 200, 560, 440), (255, 255, 257, 257)]:
        region = np.asarray(filtered.decode(data, region=(left, top, right, bottom))).astype(int)
        assert abs(region - whole[top:bottom, left:right]).max() <= 1


@pytest.mark.parametrize("post_filter", [b"\x00" * 9, b"\x0f" + b"\xff" * 40, b"\x00\x00\x01\xff\xff"])
def test_a_filter_that_the_model_cannot_have_is_a_format_error(filtered, post_filter):
    data = filtered.encode(made_picture(40, 40), 60, effort=1)
    with pytest.raises(FormatError, match="post-filter"):
        filtered.decode(with_header(data, post_filter=post_filter))


def test_a_filter_for_a_model_without_filters_is_a_format_error(tiny):
    data = tiny.encode(made_picture(40, 40), 60)
    with pytest.raises(FormatError, match="post-filter"):
        tiny.decode(with_header(data, post_filter=b"\x00"))


def codec_with(model, filters=None, graph=None):
    """A codec with these post-filters, or none, and this graph for them, or none."""
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


def test_a_model_with_filters_alone_or_their_graph_alone_is_a_model_error(filtered):
    zero_filter = [[0] * FILTER_WEIGHTS] * 3
    for codec in (codec_with(filtered.model, filters=[zero_filter]), codec_with(filtered.model, graph=b"")):
        with pytest.raises(ModelError, match="post-filters"):
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
def test_a_model_with_filters_out_of_bounds_is_a_model_error(filtered, filters):
    codec = codec_with(filtered.model, filters, filtered.model.file.graphs[POST_FILTER])
    with pytest.raises(ModelError, match="tables are not valid"):
        codec.encode(made_picture(40, 40))


@pytest.mark.parametrize("graph", [b"", b"\xff\xff"])
def test_a_filter_graph_that_does_not_run_is_a_model_error(filtered, graph):
    codec = codec_with(filtered.model, json.loads(filtered.model.file.tables_json)["post_filters"], graph)
    data = codec.encode(made_picture(100, 70), 60, fallback=False)
    with pytest.raises(ModelError, match="post_filter"):
        codec.decode(data)


class CuttingSession:
    """A graph that cuts a column off."""

    def run(self, _names, inputs):
        return [inputs["x_hat"][..., 1:]]


def test_a_filter_graph_that_changes_the_size_is_a_model_error(filtered, monkeypatch):
    post_filter = PostFilter(Engine(filtered.model, threads=1), filtered.model, pack(3, np.array([1])))
    monkeypatch.setattr(Engine, "_load", lambda _engine, _graph: CuttingSession())
    with pytest.raises(ModelError, match="post.filter"):
        post_filter(np.zeros((3, 9, 9), np.float32))


def test_effort_one_needs_no_filter_graph(filtered):
    pixels = made_picture(40, 40)
    file = filtered.model.file
    broken = Model(dataclasses.replace(file, graphs={**file.graphs, POST_FILTER: b"\xff"}))
    assert Codec(broken, threads=1).encode(pixels, effort=1) == filtered.encode(pixels, effort=1)
