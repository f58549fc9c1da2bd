"""Writes golden files that are missing. Published bits never change: a new case gets a new name, old files stay.

Golden files are pictures (.nic) with the models they were encoded with (.nicm), what they decode to (.png), and digests
of their latents (latents.json).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from codec import Codec
from codec.container import nicm
from codec.container.nicm import POST_FILTER
from codec.encoding import plan
from codec.encoding.post_filter import filter_statistics
from codec.networks.model import read_model
from conftest import GOLDEN, golden_model, made_picture

FILTER_PICTURES = 60
"""Pictures that the post-filters of a model are learned from."""
VECTOR_STEPS = 300
"""Training steps of the vector-quantised model: 10 seconds."""


@dataclasses.dataclass
class Case:
    """A picture to encode, at a quality from 0 to 100."""

    picture: Image.Image
    quality: float
    fallback: bool = False
    small_tiles: bool = False


def cases() -> dict[str, Case]:
    """The cases by name."""
    photo = Image.fromarray(made_picture(100, 70))
    with_everything = photo.copy()
    with_everything.putalpha(Image.fromarray(np.add.outer(np.arange(70), np.arange(100)).astype(np.uint8)))
    with_everything.info.update(icc_profile=b"any bytes", exif=b"Exif\x00\x00of", xmp=b"any kind")
    squares = np.kron(np.random.default_rng(0).integers(0, 2, (9, 11, 3), np.uint8) * 255, np.ones((4, 4, 1), np.uint8))
    return {
        "rgb": Case(photo, 50),
        "best": Case(photo, 100),
        "grey": Case(photo.convert("L").crop((0, 0, 33, 17)), 10.25),
        "one_pixel": Case(photo.crop((0, 0, 1, 1)), 70),
        "alpha_and_metadata": Case(with_everything, 80),
        "drawing": Case(Image.fromarray(squares), 40, fallback=True),
        "tiles": Case(Image.fromarray(made_picture(530, 270)), 20, small_tiles=True),
        "filtered": Case(photo, 60),
        "packed": Case(photo.crop((0, 0, 99, 47)), 35),
        "hidden_signs": Case(Image.fromarray(made_picture(200, 150, 7)), 75),
        "vector": Case(photo.crop((0, 0, 90, 61)), 55),
    }


def filtered_model() -> bytes:
    """The model of tiny.pt with all optional parts of a model file: a gradient and post-filters."""
    from codec_models.export.export import export
    from codec_models.export.post_filters import post_filter_graph
    from codec_models.training.fit_post_filters import principal_filters

    bare = read_model(export(GOLDEN / "tiny.pt", "filtered"))
    codec = Codec(bare, threads=1)
    statistics = []
    for seed in range(FILTER_PICTURES):
        pixels = made_picture(96, 96, seed)
        decoded = np.asarray(codec.decode(codec.encode(pixels, seed, fallback=False)))
        statistics.append(filter_statistics(pixels.transpose(2, 0, 1), decoded.transpose(2, 0, 1) / np.float32(255)))
    tables = {**json.loads(bare.file.tables_json), "post_filters": principal_filters(statistics).tolist()}
    return nicm.write(bare.metadata, {**bare.file.graphs, POST_FILTER: post_filter_graph()}, tables)


def vector_model() -> bytes:
    """A vector-quantised model, trained for some seconds on made pictures."""
    import torch

    from codec_models.export.export import export
    from codec_models.training.recipe import RECIPES, load_recipe
    from codec_models.training.train import train

    torch.set_num_threads(1)  # sums then do not depend on the number of cores
    recipe = dataclasses.replace(load_recipe(RECIPES / "tiny.toml"), quantization="vq", steps=VECTOR_STEPS)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(8):
            Image.fromarray(made_picture(192, 160, seed)).save(Path(folder) / f"{seed}.png")
        checkpoint = train(Path(folder), Path(folder) / "run", recipe, device="cpu")
        return export(checkpoint, "vector")


NEW_MODELS: dict[str, Callable[[], bytes]] = {"filtered": filtered_model, "vector": vector_model}
"""How to make the models of golden files; the others were written by earlier releases."""


def digest(latents: np.ndarray) -> str:
    """SHA-256 of latents as little-endian 32-bit integers."""
    return hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest()


def write(name: str, case: Case) -> str:
    """Write the files of a case. Returns the digest of its latents."""
    path = golden_model(name)
    if not path.exists():
        path.write_bytes(NEW_MODELS[path.stem]())
    codec = Codec(str(path), threads=1)
    if case.small_tiles:
        plan.SMALL_TILE_PIXELS = 0
    data, latents = codec.encode_with_latents(case.picture, case.quality, fallback=case.fallback)
    (GOLDEN / f"{name}.nic").write_bytes(data)
    codec.decode(data).save(GOLDEN / f"{name}.png", optimize=True)
    return digest(latents)


if __name__ == "__main__":
    digests = json.loads((GOLDEN / "latents.json").read_text())
    for name, case in cases().items():
        if name not in digests:
            digests[name] = write(name, case)
    (GOLDEN / "latents.json").write_text(json.dumps(digests, indent=1) + "\n")
