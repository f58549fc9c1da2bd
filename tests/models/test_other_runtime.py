"""The same latents from an implementation that shares no code with ONNX Runtime: onnx's own, in NumPy."""

import hashlib
import json

import numpy as np
import onnx
import pytest
from conftest import GOLDEN
from onnx.reference import ReferenceEvaluator

from codec import format
from codec.latents import decode_latents
from codec.model_file import load_model
from codec.tile_content import unpack
from codec.tiles import cells_of


class ReferenceEngine:
    def __init__(self, model):
        self.sessions = {n: ReferenceEvaluator(onnx.load_from_string(g)) for n, g in model.graphs.items()}

    def run(self, graph, **inputs):
        return self.sessions[graph].run(None, {k: np.asarray(v, np.float32) for k, v in inputs.items()})


@pytest.mark.parametrize("name", ["rgb", "grey", "best"])
def test_golden_files_decode_to_the_same_latents(name):
    model = load_model(GOLDEN / "tiny.nicm")
    reader = format.reader((GOLDEN / f"{name}.nic").read_bytes())
    header = reader.header
    stream = unpack(reader.tile(0), header.alpha).colours
    shape = cells_of(header.height, header.width).shape
    latents = decode_latents(ReferenceEngine(model), model, stream, header.quality, *shape)
    expected = json.loads((GOLDEN / "latents.json").read_text())[name]
    assert hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest() == expected
