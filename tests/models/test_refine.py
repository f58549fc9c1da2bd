from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import made_picture

from codec import Codec
from codec.engine import Engine
from codec.metrics import psnr
from codec.model_file import load_model, read_model, write_model
from models.graph import TorchGraph
from models.refine import Refiner

SAMPLE = Path(__file__).parents[2] / "samples" / "coffee.png"


@pytest.fixture(scope="module")
def codec():
    return Codec(load_model(), threads=1)


def cost(codec, pixels, quality, refiner, **options):
    """Rate and distortion as the model weighs them, in bits a pixel, of a real file."""
    data = codec.encode(pixels, quality, fallback=False, **options)
    mse = 10 ** (-psnr(pixels, np.asarray(codec.decode(data))) / 10)
    weight = refiner.recipe.distortion_weight(quality / 100)
    return 8 * len(data) / pixels[..., 0].size + weight * 255**2 * mse


def test_the_synthesis_gives_what_the_engine_gives(codec):
    y_hat = np.random.default_rng(0).normal(0, 2, (1, codec.model.metadata["latents"], 8, 12)).astype(np.float32)
    quality = np.array([0.3], np.float32)
    (expected,) = Engine(codec.model, threads=1).run("synthesis", y_hat=y_hat, quality=quality)
    graph = TorchGraph(codec.model.graphs["synthesis"])
    (found,) = graph(y_hat=torch.from_numpy(y_hat), quality=torch.from_numpy(quality))
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4, rtol=2e-4)


def test_a_photograph_costs_less(codec):
    from PIL import Image

    pixels = np.asarray(Image.open(SAMPLE).convert("RGB"))[100:220, 200:330]  # sides that are no multiple of 16
    refiner = Refiner(codec.model, iterations=6)
    plain = cost(codec, pixels, 40, refiner)
    refined = cost(codec, pixels, 40, refiner, refine=refiner)
    assert refined < 0.98 * plain
    assert codec.encode(pixels, 40, refine=refiner) == codec.encode(pixels, 40, refine=refiner)


def test_tiles_of_a_large_picture_are_refined_each_on_its_own():
    model = read_model((Path(__file__).parents[1] / "golden" / "tiny.nicm").read_bytes())
    codec = Codec(model, threads=2)
    pixels = made_picture(2100, 2100)
    refiner = Refiner(model, iterations=1)
    data, latents = codec.encode_with_latents(pixels, 30, fallback=False, refine=refiner)
    assert np.array_equal(codec.decode_latents(data)[1], latents)


def test_models_that_cannot_be_refined_are_refused(codec):
    metadata = {k: v for k, v in codec.model.metadata.items() if k not in ("recipe", "version")}
    tables = {"scale": [[1, 65533, 1, 1]], "hyper": [[1, 65533, 1, 1]]}
    bare = read_model(write_model(metadata, codec.model.graphs, tables))
    with pytest.raises(ValueError, match="how it was trained"):
        Refiner(bare, 10)
    import onnx

    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Tan", ["x"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, [1])],
        [onnx.helper.make_tensor_value_info("y", 1, [1])],
    )
    with pytest.raises(ValueError, match="Tan"):
        TorchGraph(onnx.helper.make_model(graph).SerializeToString())
