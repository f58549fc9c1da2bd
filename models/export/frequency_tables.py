"""Frequency tables for the range coder, from the distributions that a trained model's symbols have."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.entropy.constants import HYPER_MAX, MEAN_SHIFT, SCALE_LEVELS
from codec.entropy.range_coder import table_from_probabilities
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.entropy import MULTIPLES
from codec_models.quantization.vector import VectorQuantizer
from codec_models.training.fit_mixture import LARGEST, scales, tails

TAIL = 2.0**-18
"""Values less likely than this are left to the escape."""


def _scale_tables(weights: Tensor) -> list[Tensor]:
    tables = []
    multiples = torch.tensor(MULTIPLES, dtype=torch.float64)
    for scale, shares in zip(scales(), weights, strict=True):
        tail = shares @ tails(scale * multiples, LARGEST + 1)
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
