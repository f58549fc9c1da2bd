"""Random crops, coded by a trained model: the data that mixtures, post-filters and pruned networks are fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from codec_models.networks.compression_model import Compressed, CompressionModel
from codec_models.training.data import random_batch
from codec_models.training.encoder_simulation import EncoderSimulation, simulate_encoder

DrawSimulation = Callable[[Tensor], EncoderSimulation | None]
"""Gives the encoder simulation for pictures at unit qualities (B,); None for no simulation."""


class CodedCrop(NamedTuple):
    """A crop and the result of coding it."""

    x: Tensor  # (1, 3, S, S) in [0, 1]
    unit_quality: Tensor  # (1,)
    compressed: Compressed


def coded_crops(
    model: CompressionModel,
    pictures: list[Tensor],
    count: int,
    side: int,
    seed: int,
    *,
    downscale: float = 0.0,
    draw_simulation: DrawSimulation | None = None,
) -> Iterator[CodedCrop]:
    """``count`` random crops of ``pictures`` (uint8 (3, H, W)), each coded at a random quality, one at a time.

    Args:
        model: in evaluation mode and in exact integer arithmetic.
        side: of the crops, a multiple of 64 pixels.
        seed: of the crops and qualities.
        downscale: probability that a crop is scaled down.
        draw_simulation: simulates an encoder that refines latents.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    for _ in range(count):
        x = random_batch(pictures, 1, side, downscale, generator).to(device)
        unit_quality = torch.rand(1, generator=generator).to(device)
        simulation = draw_simulation(unit_quality) if draw_simulation else None
        if simulation is None:
            compressed = model(x, unit_quality)
        else:
            compressed = simulate_encoder(model, simulation, x, unit_quality)
        yield CodedCrop(x, unit_quality, compressed)
