"""Pictures and models that the tests make themselves."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

GOLDEN = Path(__file__).parent / "golden"
SAMPLES = Path(__file__).parents[1] / "samples"
HAS_TRAIN = all(find_spec(name) for name in ("torch", "compressai", "lightning", "onnx"))
collect_ignore = [] if HAS_TRAIN else ["models"]  # these tests need the extra `train`

# Tests run in several processes at once, where the threads of torch would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# On a machine that does other work as well, one example may take any time.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


def pytest_report_header() -> str | None:
    """Say which tests are left out, and why."""
    return None if HAS_TRAIN else "tests/models left out: they need the extra 'train' (torch, compressai, lightning)"


def made_picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A smooth picture with edges and some noise, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 90 * np.sin(x / rng.uniform(9, 40) + y / rng.uniform(9, 40)) for _ in range(3)]
    picture = (
        np.stack(planes, axis=2) + 60 * ((x // 16 + y // 24) % 2)[..., None] + rng.normal(0, 4, (height, width, 3))
    )
    return picture.clip(0, 255).astype(np.uint8)


def filter_as_documented(weights: np.ndarray, x_hat: np.ndarray) -> np.ndarray:
    """``x_hat`` (3, H, W) under a post-filter's weights (3, FILTER_WEIGHTS), computed as FORMAT.md says it."""
    x = x_hat.clip(0, 1).astype(np.float64)
    _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2)), mode="edge")

    def pair(dy, dx, limit=9):
        differences = (
            padded[:, 2 + down : 2 + down + height, 2 + right : 2 + right + width] - x
            for down, right in ((dy, dx), (-dy, -dx))
        )
        return sum(difference.clip(-limit, limit) for difference in differences)

    tone = x - 0.5
    neighbours = [(0, 1), (0, 2), *((1, dx) for dx in range(-2, 3)), *((2, dx) for dx in range(-2, 3))]
    by_colour = [
        *(pair(*neighbour) for neighbour in neighbours),
        tone,
        *(pair(*neighbour, limit=0.03) for neighbour in ((0, 1), (1, 0), (0, 2), (2, 0))),
        pair(0, 1) * tone,
        pair(1, 0) * tone,
        pair(0, 1) * tone**2,
        pair(1, 0) * tone**2,
        tone**2,
        tone**3,
    ]
    features = np.concatenate([np.stack(by_colour, axis=1).reshape(-1, height, width), np.ones((1, height, width))])
    return x + np.tensordot(weights, features, axes=1)


def golden_model(name: str) -> Path:
    """The model of the golden file ``name``."""
    models = {"filtered": "filtered", "hidden_signs": "filtered", "packed": "packed", "vector": "vector"}
    return GOLDEN / f"{models.get(name, 'tiny')}.nicm"


@pytest.fixture(scope="session")
def tiny_model_path() -> Path:
    """A small model file that never changes, trained for seconds."""
    return GOLDEN / "tiny.nicm"


@pytest.fixture(scope="session")
def tiny(tiny_model_path):
    """A codec with the small model, on one thread."""
    from codec import Codec

    return Codec(str(tiny_model_path), threads=1)


@pytest.fixture(scope="session")
def filtered():
    """A codec with the small model that has a gradient and post-filters, on one thread."""
    from codec import Codec

    return Codec(str(GOLDEN / "filtered.nicm"), threads=1)


@pytest.fixture
def small_tiles(monkeypatch):
    """Pictures of any size are coded in tiles of 256 pixels, as large ones are."""
    monkeypatch.setattr("codec.encoding.plan.SMALL_TILE_PIXELS", 0)


@pytest.fixture
def picture_file(tmp_path) -> Path:
    """A picture file of 100x70 pixels."""
    path = tmp_path / "photo é 1.png"
    Image.fromarray(made_picture(100, 70)).save(path)
    return path


@pytest.fixture
def without_fits(monkeypatch):
    """Training ends without its fits, which take most of the time of a short training."""
    monkeypatch.setattr("codec_models.training.trainer.Trainer.fit", lambda _trainer: None)
