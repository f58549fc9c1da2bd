"""One class for each cause: damaged files, unusable models, wrong arguments, and a failing ONNX Runtime."""

import dataclasses

import numpy as np
import pytest

import codec.errors as errors
from codec import (
    ArgumentError,
    Codec,
    CodecError,
    EngineError,
    FormatError,
    LimitError,
    ModelError,
    ModelNotFound,
    PictureError,
)
from codec.container.nicm import ENTROPY_GRAPHS, GRADIENT, POST_FILTER
from codec.networks.engine import Engine
from codec.networks.model import Model, load_model
from conftest import GOLDEN, made_picture

CAUSES = (ArgumentError, EngineError, FormatError, LimitError, ModelError, PictureError)


def codec_with(model, **graphs):
    """A codec whose model has other graphs, under the same id."""
    return Codec(Model(dataclasses.replace(model.file, graphs={**model.file.graphs, **graphs})), threads=1)


@pytest.fixture(scope="module")
def picture():
    return made_picture(60, 40)


@pytest.fixture(scope="module")
def file(filtered, picture):
    """A file with latents, hidden signs and a post-filter."""
    return filtered.encode(picture, 60, fallback=False)


def test_no_cause_is_a_kind_of_another():
    for cause in CAUSES:
        assert issubclass(cause, CodecError)
        assert not any(issubclass(cause, other) for other in CAUSES if other is not cause)
    assert issubclass(ModelNotFound, ModelError) and issubclass(ArgumentError, ValueError)
    public = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
    assert all(value.__doc__ and issubclass(value, CodecError) for value in public)


def test_a_damaged_file_is_a_format_error(tiny, picture):
    data = tiny.encode(picture, 30)
    for position in range(0, 8 * len(data), 7):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(FormatError) as raised:
            tiny.decode(bytes(damaged))
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("arguments", [{"quality": -1}, {"quality": 101}, {"quality": float("nan")}, {"effort": 6}])
def test_a_quality_or_effort_out_of_range_is_an_argument_error(filtered, picture, arguments):
    with pytest.raises(ArgumentError) as raised:
        filtered.encode(picture, **arguments)
    assert isinstance(raised.value, ValueError) and "\n" not in str(raised.value)


def test_a_region_outside_the_picture_is_an_argument_error(filtered, file):
    with pytest.raises(ArgumentError, match="region"):
        filtered.decode(file, region=(0, 0, 61, 40))


def test_an_array_that_is_no_picture_is_an_argument_error(filtered):
    with pytest.raises(ArgumentError, match="expected"):
        filtered.encode(np.zeros((40, 60, 3)))


def test_a_model_that_is_not_there_is_a_model_error():
    with pytest.raises(ModelError):
        load_model("absent")


@pytest.mark.parametrize("graph", ["analysis", "hyper_analysis", *ENTROPY_GRAPHS, GRADIENT])
@pytest.mark.parametrize("content", [b"", b"\xff\xff"])
def test_encoding_with_a_broken_graph_is_a_model_error(filtered, picture, graph, content):
    with pytest.raises(ModelError, match="graph"):
        codec_with(filtered.model, **{graph: content}).encode(picture, 60)


@pytest.mark.parametrize("graph", [*ENTROPY_GRAPHS, "synthesis", POST_FILTER])
@pytest.mark.parametrize("content", [b"", b"\xff\xff"])
def test_decoding_or_salvaging_with_a_broken_graph_is_a_model_error(filtered, file, graph, content):
    broken = codec_with(filtered.model, **{graph: content})
    for decode in (broken.decode, broken.salvage):
        with pytest.raises(ModelError, match="graph"):
            decode(file)


CHANGES = {
    "no output": lambda outputs: [],
    "a channel less": lambda outputs: [output[:, :-1] for output in outputs],
    "a channel more": lambda outputs: [np.concatenate([output, output[:, :1]], axis=1) for output in outputs],
    "a row less": lambda outputs: [output[:, :, :-1] for output in outputs],
    "a row more": lambda outputs: [np.concatenate([output, output[:, :, :1]], axis=2) for output in outputs],
    "a column more": lambda outputs: [np.concatenate([output, output[..., :1]], axis=3) for output in outputs],
    "a batch of two": lambda outputs: [np.concatenate([output, output]) for output in outputs],
    "a batch of none": lambda outputs: [output[:0] for output in outputs],
    "no pixels": lambda outputs: [output[:, :, :0] for output in outputs],
    "another rank": lambda outputs: [output[0] for output in outputs],
    "numbers": lambda outputs: [np.float32(output.sum()) for output in outputs],
}


class ChangedSession:
    """A graph that gives other outputs, as one of a model that was made wrongly does."""

    def __init__(self, session, change):
        self._session, self._change = session, change

    def run(self, names, inputs):
        return self._change(self._session.run(names, inputs))


@pytest.fixture
def codec_that_changes(filtered, monkeypatch):
    """A function of a graph and a change of its outputs, which gives a codec."""
    load = Engine._load

    def make(graph, change):
        def load_changed(self, name):
            session = load(self, name)
            return ChangedSession(session, change) if name == graph else session

        monkeypatch.setattr(Engine, "_load", load_changed)
        return Codec(filtered.model, threads=1)

    return make


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("graph", ["analysis", "hyper_analysis", *ENTROPY_GRAPHS[:3], GRADIENT, "synthesis"])
def test_encoding_with_a_graph_of_another_output_shape_is_a_model_error(codec_that_changes, picture, graph, change):
    with pytest.raises(ModelError) as raised:
        codec_that_changes(graph, change).encode(picture, 60)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("graph", [*ENTROPY_GRAPHS[:3], "synthesis", POST_FILTER])
def test_decoding_with_a_graph_of_another_output_shape_is_a_model_error(codec_that_changes, file, graph, change):
    codec = codec_that_changes(graph, change)
    for decode in (codec.decode, codec.salvage):
        with pytest.raises(ModelError) as raised:
            decode(file)
        assert "\n" not in str(raised.value)


def test_salvage_forgives_damaged_bytes_alone(filtered, codec_that_changes, file):
    damaged = file[:-9] + bytes([file[-9] ^ 1]) + file[-8:]
    assert filtered.salvage(damaged)[1] == [0]

    def fail(_outputs):
        raise OSError("no memory")

    with pytest.raises(EngineError, match="hyper_synthesis"):
        codec_that_changes("hyper_synthesis", fail).salvage(file)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.nicm")), ids=lambda path: path.stem)
def test_a_damaged_model_file_is_a_model_error(path, tmp_path):
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"metadata.json") + 20] ^= 255
    (tmp_path / "damaged.nicm").write_bytes(damaged)
    with pytest.raises(ModelError) as raised:
        Codec(str(tmp_path / "damaged.nicm"))
    assert not isinstance(raised.value, ModelNotFound)
