"""A short run of the fuzzer in benchmarks/: a picture or one CodecError, whatever the bytes."""

import dataclasses
import json
import tracemalloc
import warnings

import numpy as np
import pytest

from benchmarks.fuzz import damaged, decode_anything, forged, forged_model, use_any_model
from codec import Codec, CodecError, ModelError
from codec.container import nic
from codec.networks.model import Model, load_model
from conftest import GOLDEN, golden_model, made_picture

# All but the largest.
NAMES = [name for name in json.loads((GOLDEN / "latents.json").read_text()) if name != "tiles"]


@pytest.mark.parametrize("mutate", [damaged, forged])
@pytest.mark.parametrize("name", NAMES)
def test_mutated_files_give_a_picture_or_one_error(mutate, name):
    codec = Codec(str(golden_model(name)), threads=1)
    data = (GOLDEN / f"{name}.nic").read_bytes()
    outcomes = {decode_anything(codec, mutate(np.random.default_rng(seed), data)) for seed in range(60)}
    assert "error" in outcomes


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.nicm")), ids=lambda path: path.stem)
def test_forged_models_work_or_give_one_error(path):
    data, count = path.read_bytes(), 40 if path.stem == "filtered" else 20
    outcomes = [use_any_model(forged_model(np.random.default_rng(seed), data)) for seed in range(count)]
    assert outcomes.count("error") > count / 2


@pytest.mark.parametrize("factor", [1e9, 1e36, 1e38, np.nan])
def test_a_model_whose_analysis_gives_any_values_still_writes_files(factor):
    onnx = pytest.importorskip("onnx", reason="needs the extra train")
    file = load_model(golden_model("filtered")).file
    analysis = onnx.load_from_string(file.graphs["analysis"])
    for weights in analysis.graph.initializer:
        if weights.name.startswith("g_a.head"):
            values = onnx.numpy_helper.to_array(weights) * np.float32(factor)
            weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    graphs = {**file.graphs, "analysis": analysis.SerializeToString()}
    codec = Codec(Model(dataclasses.replace(file, graphs=graphs)), threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data, latents = codec.encode_with_latents(made_picture(64, 48), 50, fallback=False)
    assert np.array_equal(codec.decode_latents(data)[1], latents)


def test_a_model_with_another_number_of_latents_is_a_model_error():
    file = load_model(golden_model("filtered")).file
    model = Model(dataclasses.replace(file, metadata={**file.metadata, "latents": 64}))
    with pytest.raises(ModelError, match="latents"):
        Codec(model, threads=1).encode(made_picture(64, 48))


def test_every_truncation_and_every_flipped_bit_of_a_small_file_is_noticed(tiny):
    data = (GOLDEN / "grey.nic").read_bytes()
    for length in range(len(data)):
        assert decode_anything(tiny, data[:length]) == "error"
    for position in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        assert decode_anything(tiny, bytes(flipped)) == "error"


def test_a_short_file_costs_little_memory(tiny_model_path):
    codec = Codec(str(tiny_model_path), threads=1)
    for exponent in range(5):
        header = nic.Header(codec.model.model_id, 1000, 1000, 5000, tile_exponent=exponent)
        data = nic.write(header, [b"\x00\x00abcd"] + [b""] * (header.tiles - 1))[:100]
        tracemalloc.start()
        with pytest.raises(CodecError):
            codec.decode(data)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
        tracemalloc.stop()
