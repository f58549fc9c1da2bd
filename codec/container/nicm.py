"""The .nicm model file: a zip of stored members (ONNX graphs, tables, metadata) that cannot execute code.

``MODEL_FORMAT.md`` describes every member.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field

import numpy as np

from codec.entropy.codebook import Codebook
from codec.entropy.constants import SCALE_LEVELS, STEPS
from codec.entropy.range_coder import Table
from codec.errors import ModelError

VERSION = 1
MAX_BYTES = 256 << 20
ENTROPY_GRAPHS = ("hyper_synthesis", *(f"context{step}" for step in range(STEPS)))
"""The graphs that latents are decoded with, in the order in which they run."""
GRAPHS = ("analysis", "synthesis", "hyper_analysis", *ENTROPY_GRAPHS)
"""The graphs that every model file holds."""
GRADIENT = "gradient"
"""Optional: nodes that, appended to the synthesis graph, compute its gradient. Serialised protocol buffers merge when
they are concatenated."""
POST_FILTER = "post_filter"
"""Optional: a graph that filters decoded pictures, with weights that are sums of the tables' ``post_filters``."""
OPTIONAL_GRAPHS = (GRADIENT, POST_FILTER)
FILTER_WEIGHTS = 70
"""Weights of a post-filter for each output colour; ``codec.decoding.post_filter`` says what they weigh."""
FILTER_UNIT = 2.0**-10
"""The tables hold these weights as integers in this unit."""
MAX_FILTERS, MAX_FILTER_WEIGHT = 96, 1 << 20
_LIMITS = {"latents": 4096, "hyper_latents": 4096, "synthesis_halo": 64}
"""Integers that the metadata must hold, each from 1 to this."""


@dataclass(frozen=True)
class Tables:
    """What a model file's ``tables.json`` holds, checked."""

    scale: list[Table]  # one for each scale index
    hyper: list[Table]  # one for each channel of the hyper-latents
    codebook: Codebook | None  # in vector-quantised models
    post_filters: np.ndarray | None  # (K, 3, FILTER_WEIGHTS) float64, K up to MAX_FILTERS


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model file taken apart.

    Attributes:
        model_id: the first 8 bytes of the file's SHA-256.
        metadata: "latents", "hyper_latents", "synthesis_halo" (in cells), the training's recipe, the model card.
        graphs: ONNX bytes of each of ``GRAPHS``, and of those of ``OPTIONAL_GRAPHS`` that the file has.
        tables_json: the member ``tables.json``; ``parse_tables`` checks it.
    """

    model_id: bytes
    metadata: dict
    graphs: dict[str, bytes]
    tables_json: bytes = field(repr=False)


def write(metadata: dict, graphs: dict[str, bytes], tables: dict) -> bytes:
    """The bytes of a model file; the same content always gives the same bytes.

    ``metadata`` and ``graphs`` are as in ``ModelFile``, ``tables`` as ``tables.json`` holds them.
    """
    buffer = io.BytesIO()
    members = {
        "metadata.json": json.dumps({"version": VERSION, **metadata}, indent=1, sort_keys=True).encode(),
        "tables.json": json.dumps(tables, separators=(",", ":")).encode(),
        **{f"{name}.onnx": graphs[name] for name in (*GRAPHS, *OPTIONAL_GRAPHS) if name in GRAPHS or name in graphs},
    }
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def id_of(data: bytes) -> bytes:
    """The id of a model file: the first 8 bytes of its SHA-256."""
    return hashlib.sha256(data).digest()[:8]


def read(data: bytes, model_id: bytes | None = None) -> ModelFile:
    """The inverse of ``write``.

    Args:
        model_id: ``id_of(data)``, where it is known already: it takes 20 ms.

    Raises:
        ModelError: for anything that is not a model file of this version, with all of its members.
    """
    required = {"metadata.json", "tables.json", *(f"{name}.onnx" for name in GRAPHS)}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            if names - {f"{name}.onnx" for name in OPTIONAL_GRAPHS} != required or len(members) != len(names):
                raise ModelError("not a model file: it does not hold the members of one")
            # Stored members cannot be larger than the file: no zip bomb fits.
            if any(m.compress_type != zipfile.ZIP_STORED or m.file_size > len(data) for m in members):
                raise ModelError("not a model file: its members must be stored, not compressed")
            content = {member.filename: archive.read(member) for member in members}
        metadata = json.loads(content["metadata.json"])
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ModelError("not a model file, or a damaged one") from error
    if not isinstance(metadata, dict) or metadata.get("version") != VERSION:
        raise ModelError(f"the model file is not of version {VERSION}")
    for name, limit in _LIMITS.items():
        if type(metadata.get(name)) is not int or not 1 <= metadata[name] <= limit:
            raise ModelError(f"the model file's {name} is not an integer from 1 to {limit}")
    if metadata["latents"] % STEPS:
        raise ModelError(f"the model file's latents are not a multiple of {STEPS}")
    graphs = {name.removesuffix(".onnx"): graph for name, graph in content.items() if name.endswith(".onnx")}
    return ModelFile(model_id or id_of(data), metadata, graphs, content["tables.json"])


def parse_tables(file: ModelFile) -> Tables:
    """The tables of a model file. Raises ModelError when they are not valid, or do not fit its metadata and graphs."""
    try:
        values = json.loads(file.tables_json)
        scale, hyper = (
            [Table(np.array(row, np.int64).astype(np.int32)) for row in values[n]] for n in ("scale", "hyper")
        )
        codebook = Codebook.from_json(values["codebook"]) if "codebook" in values else None
        post_filters = _post_filters(values["post_filters"]) if "post_filters" in values else None
    except (ValueError, KeyError, TypeError, OverflowError, IndexError, RecursionError) as error:
        raise ModelError("the model's frequency tables are not valid") from error
    if codebook and file.metadata["latents"] % (STEPS * codebook.length):
        raise ModelError("the model's latents do not divide into vectors of its codebook")
    if len(scale) != SCALE_LEVELS or len(hyper) != file.metadata["hyper_latents"]:
        raise ModelError("the model does not have one frequency table for each scale and hyper-latent")
    if (post_filters is None) != (POST_FILTER not in file.graphs):
        raise ModelError("the model holds post-filters without their graph, or the graph without any")
    return Tables(scale, hyper, codebook, post_filters)


def _post_filters(rows: list) -> np.ndarray:
    filters = np.array(rows, np.int64)
    count, *shape = filters.shape
    if shape != [3, FILTER_WEIGHTS] or count > MAX_FILTERS or np.abs(filters).max() > MAX_FILTER_WEIGHT:
        raise ValueError("not post-filters")
    return filters * FILTER_UNIT
