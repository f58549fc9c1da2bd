"""Frequency tables for the range coder, fitted to the symbols that the trained model makes of real pictures.

A predicted scale is itself uncertain, so residuals of one scale index have heavier tails than the Gaussian
that training assumes. Each index gets a mixture of Gaussians of a few multiples of its scale, which costs
1 to 1.5 % fewer bits at no cost in time.
"""

from __future__ import annotations

import numpy as np
import torch
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.entropy import LOG_SCALE_STEP, MULTIPLES
from codec_models.quantization.vector import VectorQuantizer
from codec_models.training.coded_crops import Refine, coded_crops
from torch import Tensor

from codec.entropy.constants import HYPER_MAX, MEAN_SHIFT, SCALE_LEVELS, SCALE_MIN
from codec.entropy.range_coder import Table, table_from_probabilities

TAIL = 2.0**-18
"""Values less likely than this are left to the escape."""
LARGEST = 1024
"""Larger residuals are left to the escape as well: a table spends 2**-16 on every value that it holds."""
FIT_ITERATIONS = 1000
"""Many: zeros, which all Gaussians of the lowest scale expect, say little about their shares."""
COUNTED_CROPS, COUNTED_SIDE = 96, 256


@torch.no_grad()
def count_symbols(model: CompressionModel, pictures: list[Tensor], seed: int, refine: Refine | None = None) -> Tensor:
    """How often each magnitude of residual comes with each scale index: (SCALE_LEVELS, LARGEST + 1).

    Over random crops of ``pictures``; arguments as for ``coded_crops``.
    """
    counts = torch.zeros(SCALE_LEVELS, LARGEST + 1, dtype=torch.float64)
    for _, _, coded in coded_crops(model, pictures, COUNTED_CROPS, COUNTED_SIDE, seed, refine=refine):
        index = coded.scale_index.round().long().flatten().cpu()
        size = coded.coded.abs().round().clamp(max=LARGEST).long().flatten().cpu()
        counts.view(-1).index_add_(0, index * (LARGEST + 1) + size, torch.ones(len(index), dtype=torch.float64))
    return counts


def _scales() -> Tensor:
    return SCALE_MIN * torch.exp(torch.arange(SCALE_LEVELS, dtype=torch.float64) * LOG_SCALE_STEP)


def _tails(scales: Tensor, length: int) -> Tensor:
    """P(X > k - 1/2) for k in 0..length, under Gaussians of ``scales`` (...): (..., length + 1)."""
    edges = torch.arange(length + 1, dtype=torch.float64) - 0.5
    return torch.special.ndtr(-edges / scales.unsqueeze(-1))


def mixture_weights(counts: Tensor) -> Tensor:
    """Weights (SCALE_LEVELS, len(MULTIPLES)) float64 of each index's Gaussians, fitted to ``counts`` of magnitudes.

    By expectation maximisation (Dempster, Laird, Rubin 1977), each Gaussian with a prior of one count and
    the first, the model's own, with many: what was hardly seen stays as it was trained.
    """
    tails = _tails(_scales().unsqueeze(1) * torch.tensor(MULTIPLES, dtype=torch.float64), LARGEST + 1)
    density = 2 * (tails[..., :-1] - tails[..., 1:])
    density[..., 0] = 1 - 2 * tails[..., 1]
    density = density.clamp(min=1e-30)  # (SCALE_LEVELS, J, LARGEST + 1)
    prior = torch.ones(len(MULTIPLES), dtype=torch.float64)
    prior[0] = 1000.0
    weights = torch.full((SCALE_LEVELS, len(MULTIPLES)), 1 / len(MULTIPLES), dtype=torch.float64)
    for _ in range(FIT_ITERATIONS):
        total = torch.einsum("lj,ljk->lk", weights, density)
        share = torch.einsum("ljk,lk->lj", density, counts / total) * weights + prior
        weights = share / share.sum(1, keepdim=True)
    return weights


def mixture_of_tables(tables: list[Table]) -> Tensor:
    """Weights, as ``mixture_weights`` gives them, under which residuals cost what ``tables`` of a model file say."""
    counts = torch.zeros(SCALE_LEVELS, LARGEST + 1, dtype=torch.float64)
    for row, table in zip(counts, tables, strict=True):
        size = np.minimum(np.abs(np.arange(-table.radius, table.radius + 1)), LARGEST)
        row += torch.from_numpy(np.bincount(size, table.frequencies[:-1], minlength=LARGEST + 1))
    return mixture_weights(counts)


def _scale_tables(weights: Tensor) -> list[Tensor]:
    tables = []
    multiples = torch.tensor(MULTIPLES, dtype=torch.float64)
    for scale, shares in zip(_scales(), weights, strict=True):
        tail = shares @ _tails(scale * multiples, LARGEST + 1)
        radius = min(LARGEST, max(1, int((tail > TAIL).sum()) - 1))
        positive = tail[1 : radius + 1] - tail[2 : radius + 2]
        centre = (1 - 2 * tail[1]).reshape(1)
        outside = 2 * tail[radius + 1].reshape(1)
        tables.append(torch.cat([positive.flip(0), centre, positive, outside]))
    return tables


def _hyper_tables(model: CompressionModel) -> list[Tensor]:
    values = torch.arange(-HYPER_MAX, HYPER_MAX + 1, dtype=torch.float32)
    channels = model.architecture.hyper_latents
    _, likelihood = model.hyper_prior(values.reshape(1, 1, -1).expand(1, channels, -1).contiguous(), training=False)
    tables = []
    for row in likelihood[0].double():
        likely = values[row > TAIL].abs()
        radius = max(1, int(likely.max()) if len(likely) else 1)
        inside = row[HYPER_MAX - radius : HYPER_MAX + radius + 1]
        tables.append(torch.cat([inside, (row.sum() - inside.sum()).clamp(min=TAIL).reshape(1)]))
    return tables


@torch.no_grad()
def frequency_tables(model: CompressionModel) -> dict:
    """What a model file's tables hold: frequencies for every scale index and hyper-latent channel; a codebook."""
    weights = model.likelihood.mixture
    if weights is None:
        weights = torch.eye(len(MULTIPLES), dtype=torch.float64)[:1].repeat(SCALE_LEVELS, 1)
    tables = {"scale": _scale_tables(weights.double()), "hyper": _hyper_tables(model)}
    found: dict = {n: [_frequencies(row) for row in rows] for n, rows in tables.items()}
    if model.quantizer.counts_bits:
        found["codebook"] = _codebook(model.quantizer.codebook)
    return found


def _frequencies(probabilities: Tensor) -> list[int]:
    return table_from_probabilities(probabilities.numpy()).frequencies.tolist()


def _codebook(quantizer: VectorQuantizer) -> dict:
    """The codewords in whole units, and frequencies of their indices, counted from minus half their number."""
    units = quantizer.codewords * 2**MEAN_SHIFT
    unused = units.new_zeros(len(quantizer.usage), 2 - len(units) % 2)  # up to the table's radius, and the escape
    shares = 2.0 ** -quantizer.code_lengths()
    rows = torch.cat([shares, unused], dim=1).double()
    return {
        "codewords": units.round().int().tolist(),
        "tables": [_frequencies(row) for row in rows],
        "rate_weight": quantizer.rate_weight,
    }
