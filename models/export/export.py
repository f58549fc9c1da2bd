"""Export: a checkpoint to the bytes of a model file, with a proof of exactness and a self-check."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import nn

from codec.api import Codec
from codec.container import nic, nicm
from codec.container.nicm import GRADIENT, POST_FILTER
from codec.container.tile import unpack
from codec.decoding.latents import decode_latents
from codec.geometry import cells_of
from codec.networks.engine import Shape
from codec.networks.model import read_model
from codec_models.export.frequency_tables import frequency_tables
from codec_models.export.gradient import gradient_of
from codec_models.export.graphs import export_graphs
from codec_models.export.post_filters import post_filter_graph
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.integer import IntegerConv2d, set_exact
from codec_models.training.checkpoint import averaged_weights, load_checkpoint, restoring
from codec_models.training.recipe import recipe_from_dict

CHECKED_QUALITIES = (0.0, 50.0, 100.0)
"""Qualities, from 0 to 100, at which the self-check codes a picture."""


def trained_model(checkpoint: Path) -> tuple[CompressionModel, dict]:
    """The model with the averaged weights of a checkpoint, in evaluation mode and exact; and the checkpoint's state.

    Raises:
        ValueError: when the checkpoint cannot be read, or does not fit its recipe.
    """
    recipe, state = load_checkpoint(checkpoint)
    model = CompressionModel(recipe.architecture, recipe.quantization)
    with restoring():
        model.load_state_dict(averaged_weights(state))
    model.likelihood.mixture = state.get("mixture")
    set_exact(model.eval(), True)
    return model, state


def prove_exact(model: nn.Module) -> dict[str, float]:
    """The bound that each integer layer reaches, by the layer's name. Raises ValueError when one is not below 2**24."""
    return {name: m.proof() for name, m in model.named_modules() if isinstance(m, IntegerConv2d)}


def export(checkpoint: Path, name: str, card: dict | None = None) -> bytes:
    """The bytes of a model file.

    Args:
        checkpoint: the file that training wrote.
        name: the model's name, for its metadata.
        card: facts for the model card, plain JSON values.

    Raises:
        ValueError: when the checkpoint cannot be read, an exactness bound does not hold, or the exported
            model does not decode what it encodes.
    """
    model, state = trained_model(checkpoint)
    metadata = {
        "name": name,
        "latents": model.architecture.latents,
        "hyper_latents": model.architecture.hyper_latents,
        "synthesis_halo": model.architecture.synthesis_halo,
        "steps": state["step"],
        "hours": round(state["seconds"] / 3600, 3),
        "exactness": prove_exact(model),
        "recipe": dataclasses.asdict(recipe_from_dict(state["recipe"])),
        "started_from": state.get("started_from"),
        "card": card or {},
    }
    tables = frequency_tables(model)
    graphs = export_graphs(model)
    if not model.quantizer.counts_bits:  # encoders do not refine vectors
        graphs[GRADIENT] = gradient_of(graphs["synthesis"])
    if state.get("filters") is not None:
        graphs[POST_FILTER] = post_filter_graph()
        tables["post_filters"] = state["filters"].tolist()
    data = nicm.write(metadata, graphs, tables)
    self_check(data, model)
    return data


def self_check(data: bytes, model: CompressionModel) -> None:
    """Encode and decode a made picture with the exported model ``data``; compare its latents with those of ``model``.

    Raises:
        ValueError: when any latent differs.
    """
    codec = Codec(read_model(data), threads=1)
    noise = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    picture = np.kron(noise, np.ones((8, 8, 1), np.uint8))  # 96 x 160
    for quality in CHECKED_QUALITIES:
        encoded, latents = codec.encode_with_latents(picture, quality, fallback=False)
        _, decoded = codec.decode_latents(encoded)
        if not np.array_equal(latents, decoded):
            raise ValueError("self-check failed: the exported model does not decode what it encodes")
        if not np.array_equal(decoded, latents_by_torch(model, codec, encoded)):
            raise ValueError("self-check failed: the exported model decodes other latents than torch does")


@torch.no_grad()
def latents_by_torch(model: CompressionModel, codec: Codec, data: bytes) -> np.ndarray:
    """The latents (M, h, w) of a file of one tile, as the torch networks decode them instead of the exported graphs.

    ``model`` must be exact; ``codec`` has the tables.
    """

    class TorchEngine:
        """Runs torch networks where decoding runs graphs; see ``codec.networks.engine.Engine``."""

        def run(self, graph: str, *_shapes: Shape, **inputs: np.ndarray) -> list[np.ndarray]:
            tensors = {k: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for k, v in inputs.items()}
            if graph == "hyper_synthesis":
                outputs = (model.h_s(**tensors),)
            else:
                outputs = model.context_steps[int(graph.removeprefix("context"))](**tensors)
            return [output.float().numpy() for output in outputs]

    reader = nic.reader(data)
    header = reader.header
    content = unpack(reader.tile(0), header.alpha)
    shape = cells_of(header.height, header.width).shape
    return decode_latents(TorchEngine(), codec.model, content, header.hundredths, *shape)
