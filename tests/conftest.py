"""Pictures and models that the tests make themselves."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

GOLDEN = Path(__file__).parent / "golden"
HAS_TRAIN = all(find_spec(name) for name in ("torch", "compressai", "lightning", "onnx"))
collect_ignore = [] if HAS_TRAIN else ["models"]  # they need the extra `train`


def pytest_report_header() -> str | None:
    """Say what is left out, and why."""
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


def golden_model(name: str) -> Path:
    """The model of the golden file ``name``."""
    models = {"filtered": "filtered", "hidden_signs": "filtered", "packed": "packed"}
    return GOLDEN / f"{models.get(name, 'tiny')}.nicm"


@pytest.fixture(scope="session")
def tiny_model_path() -> Path:
    """A small frozen model, trained for seconds."""
    return GOLDEN / "tiny.nicm"


@pytest.fixture(scope="session")
def tiny(tiny_model_path):
    """A codec with the small frozen model, on one thread."""
    from codec import Codec

    return Codec(str(tiny_model_path), threads=1)


@pytest.fixture(scope="session")
def filtered():
    """A codec with the small model that holds a gradient and post-filters, on one thread."""
    from codec import Codec

    return Codec(str(GOLDEN / "filtered.nicm"), threads=1)


@pytest.fixture
def picture_file(tmp_path) -> Path:
    """A picture file of 100x70 pixels."""
    path = tmp_path / "photo é 1.png"
    Image.fromarray(made_picture(100, 70)).save(path)
    return path


@pytest.fixture
def without_fits(monkeypatch):
    """What is fitted when training ends, which takes most of the time of a short one, is left out."""
    monkeypatch.setattr("codec_models.training.trainer.Trainer.fit", lambda _trainer: None)
