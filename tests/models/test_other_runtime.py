"""The same latents from implementations that share no code with ONNX Runtime: torch, and onnx's own in NumPy."""

import hashlib
import json

import numpy as np
import onnx
import pytest
from conftest import GOLDEN
from onnx.reference import ReferenceEvaluator

from codec import Codec, format
from codec.latents import decode_latents
from codec.model_file import load_model
from codec.tile_content import unpack
from codec.tiles import cells_of
from models.export import latents_by_torch, trained_model

EXPECTED = json.loads((GOLDEN / "latents.json").read_text())


class ReferenceEngine:
    def __init__(self, model):
        self.sessions = {n: ReferenceEvaluator(onnx.load_from_string(g)) for n, g in model.graphs.items()}

    def run(self, graph, **inputs):
        return self.sessions[graph].run(None, {k: np.asarray(v, np.float32) for k, v in inputs.items()})


@pytest.mark.parametrize("name", ["rgb", "grey", "best"])
def test_golden_files_decode_to_the_same_latents_with_the_torch_networks(name):
    codec = Codec(str(GOLDEN / "tiny.nicm"), threads=1)
    model, _ = trained_model(GOLDEN / "tiny.pt")
    latents = latents_by_torch(model, codec, (GOLDEN / f"{name}.nic").read_bytes())
    assert hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest() == EXPECTED[name]


@pytest.mark.parametrize("name", ["rgb", "grey", "best"])
def test_golden_files_decode_to_the_same_latents_in_numpy(name):
    model = load_model(GOLDEN / "tiny.nicm")
    reader = format.reader((GOLDEN / f"{name}.nic").read_bytes())
    header = reader.header
    stream = unpack(reader.tile(0), header.alpha).colours
    shape = cells_of(header.height, header.width).shape
    latents = decode_latents(ReferenceEngine(model), model, stream, header.quality, *shape)
    assert hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest() == EXPECTED[name]
