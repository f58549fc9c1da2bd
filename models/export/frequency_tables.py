"""Frequency tables for the range coder, from the distributions of a trained model's symbols."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.entropy.constants import HYPER_MAX, MEAN_SHIFT, SCALE_LEVELS
from codec.entropy.range_coder import table_from_probabilities
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.entropy import MULTIPLES
from codec_models.quantization.vector import VectorQuantizer
from codec_models.training.fit_mixture import MAX_RESIDUAL, scales, upper_tails

TAIL = 2.0**-18
"""Values less probable than this are left to the escape."""


@torch.no_grad()
def frequency_tables(model: CompressionModel) -> dict:
    """The content of a model file's ``tables.json`` without post-filters, as plain JSON values.

    "scale" has a row of frequencies for each scale index, "hyper" one for each channel of the hyper-latents; a
    vector-quantised model also has a "codebook".
    """
    weights = model.likelihood.mixture
    if weights is None:
        weights = torch.eye(len(MULTIPLES), dtype=torch.float64)[:1].repeat(SCALE_LEVELS, 1)
    tables: dict = {
        "scale": [_frequencies(row) for row in _scale_probabilities(weights.double())],
        "hyper": [_frequencies(row) for row in _hyper_probabilities(model)],
    }
    if model.quantizer.counts_bits:
        tables["codebook"] = _codebook(model.quantizer.codebook)
    return tables


def _frequencies(probabilities: Tensor) -> list[int]:
    return table_from_probabilities(probabilities.numpy()).frequencies.tolist()


def _scale_probabilities(weights: Tensor) -> list[Tensor]:
    """For each scale index, probabilities of the residuals -r..r and of the escape, under mixture ``weights``."""
    rows = []
    multiples = torch.tensor(MULTIPLES, dtype=torch.float64)
    for scale, shares in zip(scales(), weights, strict=True):
        tail = shares @ upper_tails(scale * multiples, MAX_RESIDUAL + 1)  # P(X > k - 1/2)
        radius = min(MAX_RESIDUAL, max(1, int((tail > TAIL).sum()) - 1))
        positive = tail[1 : radius + 1] - tail[2 : radius + 2]
        zero = (1 - 2 * tail[1]).reshape(1)
        escape = 2 * tail[radius + 1].reshape(1)
        rows.append(torch.cat([positive.flip(0), zero, positive, escape]))
    return rows


def _hyper_probabilities(model: CompressionModel) -> list[Tensor]:
    """For each channel, probabilities of the hyper-latents -r..r and of the escape."""
    values = torch.arange(-HYPER_MAX, HYPER_MAX + 1, dtype=torch.float32)
    channels = model.architecture.hyper_latents
    _, likelihood = model.hyper_prior(values.reshape(1, 1, -1).expand(1, channels, -1).contiguous(), training=False)
    rows = []
    for probabilities in likelihood[0].double():
        likely = values[probabilities > TAIL].abs()
        radius = max(1, int(likely.max()) if len(likely) else 1)
        inside = probabilities[HYPER_MAX - radius : HYPER_MAX + radius + 1]
        escape = (probabilities.sum() - inside.sum()).clamp(min=TAIL).reshape(1)
        rows.append(torch.cat([inside, escape]))
    return rows


def _codebook(quantizer: VectorQuantizer) -> dict:
    """Codewords in units of ``2**-MEAN_SHIFT``, and for each class the frequencies of their indices.

    A table holds the values -r..r and an escape. Index 0 is value -r; values above the last index are unused.
    """
    units = quantizer.codewords * 2**MEAN_SHIFT
    unused = units.new_zeros(len(quantizer.usage), 2 - len(units) % 2)
    shares = 2.0 ** -quantizer.code_lengths()
    rows = torch.cat([shares, unused], dim=1).double()
    return {
        "codewords": units.round().int().tolist(),
        "tables": [_frequencies(row) for row in rows],
        "rate_weight": quantizer.rate_weight,
    }
