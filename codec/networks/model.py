"""A loaded model, and the installed models."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from codec.container import nicm
from codec.entropy.codebook import Codebook
from codec.entropy.constants import lambda_at
from codec.entropy.hidden_signs import HiddenSigns
from codec.entropy.range_coder import Table
from codec.errors import ModelError, ModelNotFound

PRETRAINED = Path(__file__).parents[1] / "pretrained"
"""The folder of the installed models."""
DEFAULT_MODEL = "base"


class Model:
    """A model file with its tables, which are parsed when they are first needed."""

    def __init__(self, file: nicm.ModelFile) -> None:
        self.file = file
        self.model_id = file.model_id
        self.metadata = file.metadata
        self.latents: int = file.metadata["latents"]
        self.hyper_latents: int = file.metadata["hyper_latents"]
        self.synthesis_halo: int = file.metadata["synthesis_halo"]
        """Cells around a cell that its pixels depend on."""

    @property
    def has_gradient(self) -> bool:
        """Whether latents can be refined, which efforts above 1 do."""
        return nicm.GRADIENT in self.file.graphs

    def graph(self, name: str) -> bytes:
        """ONNX bytes to run: one of ``nicm.GRAPHS``, the synthesis with its gradient, or the post-filter."""
        graphs = self.file.graphs
        return graphs["synthesis"] + graphs[name] if name == nicm.GRADIENT else graphs[name]

    @cached_property
    def _tables(self) -> nicm.Tables:
        return nicm.parse_tables(self.file)

    @property
    def scale_tables(self) -> list[Table]:
        """One table for each scale index."""
        return self._tables.scale

    @property
    def hyper_tables(self) -> list[Table]:
        """One table for each channel of the hyper-latents."""
        return self._tables.hyper

    @property
    def codebook(self) -> Codebook | None:
        """The codewords of vector-quantised models."""
        return self._tables.codebook

    @property
    def post_filters(self) -> np.ndarray | None:
        """The filters that pictures' post-filters are sums of: float64 (K, 3, FILTER_WEIGHTS), or None."""
        return self._tables.post_filters

    @cached_property
    def hidden_signs(self) -> HiddenSigns | None:
        """How streams of latents hide signs; None for vector-quantised models."""
        return None if self.codebook else HiddenSigns(self.scale_tables)

    def lambda_at(self, unit_quality: float) -> float:
        """lambda in bits per pixel for each unit of mean squared error, pixels in [0, 1], at a quality in [0, 1].

        Raises:
            ModelError: when the metadata does not say what the model was trained with.
        """
        recipe = self.metadata.get("recipe")
        names = ("lambda_min", "lambda_max")
        ends: list[Any] = [recipe.get(name) for name in names] if isinstance(recipe, dict) else []
        if len(ends) != 2 or not all(type(end) is float and 0 < end < 1e9 for end in ends):
            raise ModelError("the model does not say how it was trained: encoding cannot weigh bits against errors")
        return lambda_at(ends[0], ends[1], unit_quality) * 255**2


def read_model(data: bytes) -> Model:
    """A model from the bytes of its file. Raises ModelError when they are not a valid one."""
    return Model(nicm.read(data))


def load_model(name: str | Path = DEFAULT_MODEL) -> Model:
    """Load an installed model by name, or a model file by path.

    Raises:
        ModelNotFound: when there is no such model.
        ModelError: when the file is not a valid model.
    """
    return read_model(_read(name))


def _read(name: str | Path) -> bytes:
    path = Path(name) if str(name).endswith(".nicm") else PRETRAINED / f"{name}.nicm"
    try:
        if path.stat().st_size > nicm.MAX_BYTES:
            raise ModelError(f"{path}: larger than any model file may be")
        return path.read_bytes()
    except OSError as error:
        installed = ", ".join(installed_models()) or "none"
        raise ModelNotFound(f"model {str(name)!r} is not there (installed: {installed})") from error


def installed_models() -> list[str]:
    """The names of the models that came with the package."""
    return sorted(path.stem for path in PRETRAINED.glob("*.nicm"))


def find_model(model_id: bytes) -> Model:
    """The installed model with this id. Raises ModelNotFound, naming the id."""
    for name in installed_models():
        data = _read(name)
        if nicm.id_of(data) == model_id:
            return Model(nicm.read(data, model_id))
    raise ModelNotFound(f"the file needs model {model_id.hex()}, which is not installed (pass it with --model)")
