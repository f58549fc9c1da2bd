"""The .nicm model file: a zip of stored members (graphs, tables, metadata) that cannot execute code."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from codec.codebook import Codebook
from codec.errors import FormatError, ModelNotFound
from codec.hidden_signs import HiddenSigns
from codec.range_coder import Table
from codec.tables import HYPER_MAX, SCALE_LEVELS, STEPS, distortion_weight

VERSION = 1
MAX_BYTES = 256 << 20
ENTROPY_GRAPHS = ("hyper_synthesis", *(f"context{step}" for step in range(STEPS)))
"""What latents are decoded with, in the order in which it is needed."""
GRAPHS = ("analysis", "synthesis", "hyper_analysis", *ENTROPY_GRAPHS)
GRADIENT = "gradient"
"""What a model file may hold besides ``GRAPHS``: the synthesis graph's continuation to its gradient, with which
latents are refined. Protocol buffers merge when they are joined."""
POST_FILTER = "post_filter"
"""And a graph that filters decoded pictures, by weights that are sums of the "post_filters" in the tables."""
OPTIONAL = {GRADIENT, POST_FILTER}
FILTER_WEIGHTS = 70
"""What a post-filter has for each colour that it gives; ``post_filter.py`` says what they weigh."""
FILTER_UNIT = 2.0**-10
"""The tables hold those weights as integers, in this unit."""
MAX_FILTERS, MAX_FILTER_WEIGHT = 96, 1 << 20
_LARGEST_WEIGHED = 1024
"""Encoders take magnitudes above this to cost what this does."""
PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT = "base"


@dataclass(frozen=True, eq=False)
class Model:
    """A checked model file.

    ``graphs`` maps each of ``GRAPHS`` to its ONNX bytes, and those of ``OPTIONAL`` that there are. ``metadata`` holds
    "latents", "hyper_latents", "analysis_halo", "synthesis_halo" (in latents), and whatever the model card says.
    """

    model_id: bytes
    metadata: dict
    graphs: dict[str, bytes]
    tables_json: bytes = field(repr=False)

    def graph(self, name: str) -> bytes:
        """The ONNX bytes to run: one of ``GRAPHS``, the synthesis with its gradient, or the post-filter."""
        return self.graphs["synthesis"] + self.graphs[name] if name == GRADIENT else self.graphs[name]

    @cached_property
    def _tables(self) -> dict:
        try:
            found = json.loads(self.tables_json)
            tables: dict = {
                name: [Table(np.array(row, np.int64).astype(np.int32)) for row in found[name]]
                for name in ("scale", "hyper")
            }
            tables["codebook"] = Codebook.from_json(found["codebook"]) if "codebook" in found else None
            tables["post_filters"] = _filters(found["post_filters"]) if "post_filters" in found else None
        except (ValueError, KeyError, TypeError, OverflowError, IndexError) as error:
            raise FormatError("the model's frequency tables are not valid") from error
        if tables["codebook"] and self.metadata["latents"] % (STEPS * tables["codebook"].length):
            raise FormatError("the model's latents do not divide into vectors of its codebook")
        if len(tables["scale"]) != SCALE_LEVELS or len(tables["hyper"]) != self.metadata["hyper_latents"]:
            raise FormatError("the model does not have one frequency table for each scale and hyper-latent")
        if (tables["post_filters"] is None) != (POST_FILTER not in self.graphs):
            raise FormatError("the model holds post-filters without their graph, or the graph without any")
        return tables

    @property
    def scale_tables(self) -> list[Table]:
        """One table for each scale index."""
        return self._tables["scale"]

    @property
    def hyper_tables(self) -> list[Table]:
        """One table for each channel of the hyper-latents."""
        return self._tables["hyper"]

    @cached_property
    def _symbol_bits(self) -> np.ndarray:  # (scale indices, magnitudes)
        magnitudes = np.arange(_LARGEST_WEIGHED + 1)
        return np.stack([table.code_lengths(magnitudes) for table in self.scale_tables]).astype(np.float32)

    def bits_of(self, symbols: np.ndarray, scale_indices: np.ndarray) -> np.ndarray:
        """Bits of ``symbols`` under ``scale_indices``, both integers, broadcast: float32."""
        return self._symbol_bits[scale_indices, np.abs(symbols).clip(max=_LARGEST_WEIGHED)]

    @cached_property
    def hyper_bits(self) -> np.ndarray:
        """Bits of hyper-latents: float32 (channels, values from -HYPER_MAX to HYPER_MAX)."""
        values = np.arange(-HYPER_MAX, HYPER_MAX + 1)
        return np.stack([table.code_lengths(values) for table in self.hyper_tables]).astype(np.float32)

    @cached_property
    def hidden_signs(self) -> HiddenSigns | None:
        """How streams of latents hide signs; None for vector-quantised models."""
        return None if self.codebook else HiddenSigns(self.scale_tables)

    @property
    def codebook(self) -> Codebook | None:
        """What residuals are coded with in vector-quantised models."""
        return self._tables["codebook"]

    @property
    def post_filters(self) -> np.ndarray | None:
        """What pictures' post-filters are sums of, float64 (K, 3, FILTER_WEIGHTS), K up to ``MAX_FILTERS``; or None."""
        return self._tables["post_filters"]

    def error_weight(self, share: float) -> float:
        """lambda, in bits a pixel for each unit of squared error of pixels in [0, 1], at quality ``share`` in [0, 1].

        Raises:
            FormatError: when the metadata does not say what the model was trained with.
        """
        recipe = self.metadata.get("recipe")
        ends = [recipe.get(name) for name in ("lambda_min", "lambda_max")] if isinstance(recipe, dict) else []
        if len(ends) != 2 or not all(type(end) is float and 0 < end < 1e9 for end in ends):
            raise FormatError("the model does not say how it was trained: encoding cannot weigh bits against errors")
        return distortion_weight(*ends, share) * 255**2


def _filters(rows: list) -> np.ndarray:
    filters = np.array(rows, np.int64)
    count, *shape = filters.shape
    if shape != [3, FILTER_WEIGHTS] or count > MAX_FILTERS or np.abs(filters).max() > MAX_FILTER_WEIGHT:
        raise ValueError("not post-filters")
    return filters * FILTER_UNIT


def write_model(metadata: dict, graphs: dict[str, bytes], tables: dict) -> bytes:
    """The bytes of a model file; the same content always gives the same bytes.

    ``graphs`` as in ``Model``; ``tables`` as ``tables.json`` holds them.
    """
    buffer = io.BytesIO()
    members = {
        "metadata.json": json.dumps({"version": VERSION, **metadata}, indent=1, sort_keys=True).encode(),
        "tables.json": json.dumps(tables, separators=(",", ":")).encode(),
        **{f"{name}.onnx": graphs[name] for name in (*GRAPHS, *sorted(graphs.keys() & OPTIONAL))},
    }
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def read_model(data: bytes) -> Model:
    """Check and take apart a model file. Raises FormatError when it is not one."""
    return _checked(data, _id_of(data))


def _id_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:8]


def _checked(data: bytes, model_id: bytes) -> Model:
    wanted = {"metadata.json", "tables.json", *(f"{name}.onnx" for name in GRAPHS)}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = {m.filename for m in members}
            if names - {f"{name}.onnx" for name in OPTIONAL} != wanted or len(members) != len(names):
                raise FormatError("not a model file: it does not hold the members of one")
            # Stored members cannot be larger than the file: no zip bomb fits.
            if any(m.compress_type != zipfile.ZIP_STORED or m.file_size > len(data) for m in members):
                raise FormatError("not a model file: its members must be stored, not compressed")
            content = {m.filename: archive.read(m) for m in members}
        metadata = json.loads(content["metadata.json"])
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError, RecursionError) as e:
        raise FormatError("not a model file, or a damaged one") from e
    if not isinstance(metadata, dict) or metadata.get("version") != VERSION:
        raise FormatError(f"the model file is not of version {VERSION}")
    limits = {"latents": 4096, "hyper_latents": 4096, "analysis_halo": 64, "synthesis_halo": 64}
    for name, limit in limits.items():
        if type(metadata.get(name)) is not int or not 1 <= metadata[name] <= limit:
            raise FormatError(f"the model file's {name} is not an integer from 1 to {limit}")
    graphs = {name.removesuffix(".onnx"): found for name, found in content.items() if name.endswith(".onnx")}
    return Model(model_id, metadata, graphs, content["tables.json"])


def load_model(name: str | Path = DEFAULT) -> Model:
    """Load an installed model by name, or a model file by path.

    Raises:
        ModelNotFound: when there is no such model.
        FormatError: when the file is not a valid model.
    """
    return read_model(_read(name))


def _read(name: str | Path) -> bytes:
    path = Path(name) if str(name).endswith(".nicm") else PRETRAINED / f"{name}.nicm"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FormatError(f"{path}: larger than any model file may be")
        return path.read_bytes()
    except OSError as error:
        known = ", ".join(installed_models()) or "none"
        raise ModelNotFound(f"model {str(name)!r} is not there (installed: {known})") from error


def installed_models() -> list[str]:
    """The names of the models that came with the package."""
    return sorted(p.stem for p in PRETRAINED.glob("*.nicm"))


def find_model(model_id: bytes) -> Model:
    """The installed model with this id. Raises ModelNotFound, naming the id."""
    for name in installed_models():
        data = _read(name)
        if _id_of(data) == model_id:  # takes 20 milliseconds, so once
            return _checked(data, model_id)
    raise ModelNotFound(f"the file needs model {model_id.hex()}, which is not installed (pass it with --model)")
