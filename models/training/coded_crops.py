"""What a trained model makes of random crops: what its tables, post-filters and smaller models are fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from codec_models.networks.compression_model import Compressed, CompressionModel
from codec_models.training.data import random_batch
from codec_models.training.encoder_simulation import EncoderSimulation, simulate_encoder

Refine = Callable[[Tensor], EncoderSimulation | None]
"""Says how the latents of pictures of these qualities (B,) are refined."""


def coded_crops(
    model: CompressionModel,
    pictures: list[Tensor],
    count: int,
    side: int,
    seed: int,
    *,
    downscale: float = 0.0,
    refine: Refine | None = None,
) -> Iterator[tuple[Tensor, Tensor, Compressed]]:
    """``count`` crops (1, 3, side, side) of ``pictures`` (uint8 (3, H, W)), coded at random qualities (1,) one by one.

    ``model`` must be ready for use: in evaluation mode, in integer arithmetic.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    for _ in range(count):
        x = random_batch(pictures, 1, side, downscale, generator)
        quality = torch.rand(1, generator=generator).to(device)
        simulation = refine(quality) if refine else None
        x_there = x.to(device)
        yield (
            x,
            quality,
            simulate_encoder(model, simulation, x_there, quality) if simulation else model(x_there, quality),
        )
