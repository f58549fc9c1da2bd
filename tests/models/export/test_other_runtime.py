"""The same latents from implementations that share no code with ONNX Runtime: torch, and onnx's own in NumPy."""

import hashlib
import json
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from codec import Codec
from codec.container import nic
from codec.container.nicm import ENTROPY_GRAPHS
from codec.container.tile import unpack
from codec.decoding.latents import decode_latents
from codec.geometry import cells_of
from codec.networks.model import load_model, read_model
from codec_models.export.export import export, latents_by_torch, trained_model
from conftest import GOLDEN, made_picture

EXPECTED = json.loads((GOLDEN / "latents.json").read_text())


class ReferenceEngine:
    def __init__(self, model):
        self.sessions = {n: ReferenceEvaluator(onnx.load_from_string(model.file.graphs[n])) for n in ENTROPY_GRAPHS}

    def run(self, graph, *_shapes, **inputs):
        return self.sessions[graph].run(None, {k: np.asarray(v, np.float32) for k, v in inputs.items()})


@pytest.mark.parametrize("name", ["rgb", "grey", "best"])
def test_golden_files_decode_to_the_same_latents_with_the_torch_networks(name):
    codec = Codec(str(GOLDEN / "tiny.nicm"), threads=1)
    model, _ = trained_model(GOLDEN / "tiny.pt")
    latents = latents_by_torch(model, codec, (GOLDEN / f"{name}.nic").read_bytes())
    assert hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest() == EXPECTED[name]


@pytest.fixture(scope="module", params=["published", "exported now"])
def tiny(request):
    return load_model(GOLDEN / "tiny.nicm") if request.param == "published" else exported_now()


@cache
def exported_now():
    return read_model(export(GOLDEN / "tiny.pt", "tiny"))


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (33, 80), (48, 61), (64, 64)])
def test_pictures_of_any_size_decode_to_the_same_latents_with_the_torch_networks(size):
    codec = Codec(exported_now(), threads=1)
    model, _ = trained_model(GOLDEN / "tiny.pt")
    data, latents = codec.encode_with_latents(made_picture(*size), 70, fallback=False)
    assert np.array_equal(latents_by_torch(model, codec, data), latents)


@pytest.mark.parametrize("name", ["rgb", "grey", "best"])
def test_golden_files_decode_to_the_same_latents_in_numpy(name, tiny):
    reader = nic.reader((GOLDEN / f"{name}.nic").read_bytes())
    header = reader.header
    content = unpack(reader.tile(0), header.alpha)
    shape = cells_of(header.height, header.width).shape
    latents = decode_latents(ReferenceEngine(tiny), tiny, content, header.hundredths, *shape)
    assert hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest() == EXPECTED[name]


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1)])
def test_context_graphs_give_means_and_scales_at_the_step_positions_of_any_size(size):
    height, width = size
    model, _ = trained_model(GOLDEN / "tiny.pt")
    engine = ReferenceEngine(exported_now())
    rng = np.random.default_rng(0)
    for step in model.context_steps:
        inputs = {"features": rng.integers(-1023, 1024, (1, model.architecture.context_width, height, width))}
        if step.step:
            inputs["decoded"] = rng.integers(-100, 100, (1, model.architecture.latents, height, width))
        outputs = engine.run(f"context{step.step}", **inputs)
        with torch.no_grad():
            expected = step(**{name: torch.from_numpy(array).float() for name, array in inputs.items()})
        for ours, theirs in zip(outputs, expected, strict=True):
            assert ours.shape == (1, model.architecture.latents, -(-height // 2), -(-width // 2))
            assert np.array_equal(ours, theirs.numpy())


def test_vector_quantised_files_decode_to_the_same_latents_in_numpy():
    vector = load_model(GOLDEN / "vector.nicm")
    reader = nic.reader((GOLDEN / "vector.nic").read_bytes())
    content = unpack(reader.tile(0), reader.header.alpha)
    shape = cells_of(reader.header.height, reader.header.width).shape
    latents = decode_latents(ReferenceEngine(vector), vector, content, reader.header.hundredths, *shape)
    assert hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest() == EXPECTED["vector"]
