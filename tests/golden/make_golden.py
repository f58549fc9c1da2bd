"""Writes golden files that are not there: published bits never change, so new cases are added under new names."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from codec import Codec
from codec.container import nicm
from codec.container.nicm import POST_FILTER
from codec.encode import encoder
from codec.encode.post_filter import filter_statistics
from codec.networks.model import read_model
from conftest import GOLDEN, golden_model, made_picture


def digest(latents: np.ndarray) -> str:
    """SHA-256 of latents as little-endian 32-bit integers."""
    return hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest()


def cases() -> dict[str, tuple[Image.Image, float, bool, int | None]]:
    """Name: picture, quality, fallback, and from how many pixels tiles are small."""
    photo = Image.fromarray(made_picture(100, 70))
    seen = photo.copy()
    seen.putalpha(Image.fromarray(np.add.outer(np.arange(70), np.arange(100)).astype(np.uint8)))
    seen.info.update(icc_profile=b"any bytes", exif=b"Exif\x00\x00of", xmp=b"any kind")
    blocks = np.kron(np.random.default_rng(0).integers(0, 2, (9, 11, 3), np.uint8) * 255, np.ones((4, 4, 1), np.uint8))
    return {
        "rgb": (photo, 50, False, None),
        "best": (photo, 100, False, None),
        "grey": (photo.convert("L").crop((0, 0, 33, 17)), 10.25, False, None),
        "one_pixel": (photo.crop((0, 0, 1, 1)), 70, False, None),
        "alpha_and_metadata": (seen, 80, False, None),
        "drawing": (Image.fromarray(blocks), 40, True, None),
        "tiles": (Image.fromarray(made_picture(530, 270)), 20, False, 0),
        "filtered": (photo, 60, False, None),
        "packed": (photo.crop((0, 0, 99, 47)), 35, False, None),
        "hidden_signs": (Image.fromarray(made_picture(200, 150, 7)), 75, False, None),
    }


def filtered_model() -> bytes:
    """The small model as it is exported today, with all that a model file may hold: a gradient and post-filters."""
    from codec_models.export.export import export
    from codec_models.export.post_filters import post_filter_graph, principal_filters

    bare = read_model(export(GOLDEN / "tiny.pt", "filtered"))
    codec = Codec(bare, threads=1)
    seen = []
    for seed in range(60):
        pixels = made_picture(96, 96, seed)
        decoded = np.asarray(codec.decode(codec.encode(pixels, seed, fallback=False)))
        seen.append(filter_statistics(pixels.transpose(2, 0, 1), decoded.transpose(2, 0, 1) / np.float32(255)))
    tables = {**json.loads(bare.file.tables_json), "post_filters": principal_filters(seen).tolist()}
    return nicm.write(bare.metadata, {**bare.file.graphs, POST_FILTER: post_filter_graph()}, tables)


if __name__ == "__main__":
    expected = json.loads((GOLDEN / "latents.json").read_text())
    for name, (image, quality, fallback, small_tiles_from) in cases().items():
        if name in expected:
            continue
        if not golden_model(name).exists():
            golden_model(name).write_bytes(filtered_model())
        codec = Codec(str(golden_model(name)), threads=1)
        if small_tiles_from is not None:
            encoder.SMALL_TILES_FROM = small_tiles_from
        data, latents = codec.encode_with_latents(image, quality, fallback=fallback)
        (GOLDEN / f"{name}.nic").write_bytes(data)
        codec.decode(data).save(GOLDEN / f"{name}.png", optimize=True)
        expected[name] = digest(latents)
    (GOLDEN / "latents.json").write_text(json.dumps(expected, indent=1) + "\n")
