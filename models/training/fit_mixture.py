"""The distribution of the residuals for each scale index: a mixture of Gaussians, fitted when the training ends.

A predicted scale is uncertain, so the residuals of a scale index have heavier tails than the Gaussian of the training.
A mixture of Gaussians at a few multiples of the scale saves about 1.5 % of the bits, and decoding takes no longer.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from codec.entropy.constants import SCALE_LEVELS, SCALE_MIN
from codec.entropy.range_coder import Table
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.entropy import LOG_SCALE_STEP, MULTIPLES
from codec_models.training.coded_crops import DrawSimulation, coded_crops

MAX_RESIDUAL = 1024
"""Largest magnitude of a residual that tables hold, in quantisation steps. A table spends a probability of 2**-16 on
each of its values; larger residuals are coded with an escape."""
FIT_ITERATIONS = 1000
"""Iterations of expectation maximisation. At the lowest scales nearly all symbols are zeros, which are about as likely
under each Gaussian, so the weights converge slowly."""
COUNTED_CROPS, COUNTED_SIDE = 96, 256
"""The crops whose symbols are counted, and their side in pixels: 8 million symbols with the default architecture."""
OWN_PRIOR, OTHER_PRIOR = 1000.0, 1.0
"""Prior of the Gaussian of the training and of each other one, in symbols: rare scale indices keep the former."""
MIN_PROBABILITY = 1e-30
"""Lower bound of the probability of a magnitude, which keeps divisions finite."""


@torch.no_grad()
def count_symbols(
    model: CompressionModel, pictures: list[Tensor], seed: int, draw_simulation: DrawSimulation | None = None
) -> Tensor:
    """Counts (SCALE_LEVELS, MAX_RESIDUAL + 1) float64 of the residuals' magnitudes at each scale index.

    They are of ``COUNTED_CROPS`` random crops of ``pictures``; the arguments are those of ``coded_crops``.
    """
    counts = torch.zeros(SCALE_LEVELS, MAX_RESIDUAL + 1, dtype=torch.float64)
    for crop in coded_crops(model, pictures, COUNTED_CROPS, COUNTED_SIDE, seed, draw_simulation=draw_simulation):
        latents = crop.compressed.latents
        index = latents.scale_index.round().long().flatten().cpu()
        magnitude = latents.coded.abs().round().clamp(max=MAX_RESIDUAL).long().flatten().cpu()
        ones = torch.ones(len(index), dtype=torch.float64)
        counts.view(-1).index_add_(0, index * (MAX_RESIDUAL + 1) + magnitude, ones)
    return counts


def scales() -> Tensor:
    """The standard deviation of each scale index, (SCALE_LEVELS,) float64, in quantisation steps."""
    return SCALE_MIN * torch.exp(torch.arange(SCALE_LEVELS, dtype=torch.float64) * LOG_SCALE_STEP)


def upper_tails(scales: Tensor, length: int) -> Tensor:
    """P(X > k - 1/2) for k in 0..length, of zero-mean Gaussians with deviations ``scales`` (...): (..., length + 1)."""
    edges = torch.arange(length + 1, dtype=torch.float64) - 0.5
    return torch.special.ndtr(-edges / scales.unsqueeze(-1))


def mixture_weights(counts: Tensor) -> Tensor:
    """Weights (SCALE_LEVELS, J) float64 of the Gaussians of each scale index, J = len(MULTIPLES), fitted to ``counts``.

    By expectation maximisation (Dempster, Laird, Rubin 1977), with ``OWN_PRIOR`` and ``OTHER_PRIOR``. ``counts`` are as
    ``count_symbols`` returns them.
    """
    above = upper_tails(scales().unsqueeze(1) * torch.tensor(MULTIPLES, dtype=torch.float64), MAX_RESIDUAL + 1)
    probability = 2 * (above[..., :-1] - above[..., 1:])  # (SCALE_LEVELS, J, MAX_RESIDUAL + 1), of magnitudes
    probability[..., 0] = 1 - 2 * above[..., 1]
    probability = probability.clamp(min=MIN_PROBABILITY)
    prior = torch.full((len(MULTIPLES),), OTHER_PRIOR, dtype=torch.float64)
    prior[0] = OWN_PRIOR
    # Magnitudes that never occur add nothing.
    length = int(counts.sum(0).nonzero().max()) + 1 if counts.any() else 1
    probability, counts = probability[..., :length].contiguous(), counts[:, :length]
    weights = torch.full((SCALE_LEVELS, len(MULTIPLES)), 1 / len(MULTIPLES), dtype=torch.float64)
    for _ in range(FIT_ITERATIONS):
        total = torch.einsum("lj,ljk->lk", weights, probability)
        expected = torch.einsum("ljk,lk->lj", probability, counts / total) * weights + prior
        weights = expected / expected.sum(1, keepdim=True)
    return weights


def mixture_of_tables(tables: list[Table]) -> Tensor:
    """Mixture weights (see ``mixture_weights``) that give about the code lengths of the ``tables`` of a model file."""
    counts = torch.zeros(SCALE_LEVELS, MAX_RESIDUAL + 1, dtype=torch.float64)
    for row, table in zip(counts, tables, strict=True):
        magnitude = np.minimum(np.abs(np.arange(-table.radius, table.radius + 1)), MAX_RESIDUAL)
        row += torch.from_numpy(np.bincount(magnitude, table.frequencies[:-1], minlength=MAX_RESIDUAL + 1))
    return mixture_weights(counts)
