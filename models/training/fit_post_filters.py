"""The space of filters that pictures choose their post-filter from, learned from what is left to filter."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from codec.container.nicm import FILTER_UNIT
from codec.encode.post_filter import FilterStatistics, filter_statistics
from codec_models.networks.compression_model import CompressionModel
from codec_models.training.coded_crops import Refine, coded_crops

COUNT = 96
"""Filters in the space. Half as many save a tenth less at high qualities, and as much at low ones."""
CROPS, LEAST_CROPS, CROP_SIDE = 768, 104, 256
"""Filters are learned from as many crops as the training took, within the first two: a short one is not to wait."""
PRIOR = 0.1
"""How much the mean of all crops counts beside each crop in its own filter, which would otherwise fit noise."""
OUTLIERS = 0.02
"""The share of crops with the strongest filters that is left out: drawings and the like."""


@torch.no_grad()
def crop_statistics(
    model: CompressionModel,
    pictures: list[Tensor],
    trained_on: int,
    downscale: float,
    seed: int,
    refine: Refine | None = None,
) -> list[FilterStatistics]:
    """What random crops of ``pictures`` say about filters of a model that was ``trained_on`` so many.

    The other arguments are those of ``coded_crops``.
    """
    count = min(max(trained_on, LEAST_CROPS), CROPS)
    found = []
    for x, _, coded in coded_crops(model, pictures, count, CROP_SIDE, seed, downscale=downscale, refine=refine):
        found.append(filter_statistics((255 * x[0]).round().byte().cpu().numpy(), coded.x_hat[0].float().cpu().numpy()))
    return found


def principal_filters(found: list[FilterStatistics]) -> np.ndarray:
    """The ``COUNT`` filters that tell most of the crops' own: (COUNT, 3, FILTER_WEIGHTS) int64, in ``FILTER_UNIT``.

    Principal components, in the metric in which a filter's length is what it changes: each crop's Wiener filter,
    as a share of its error.
    """
    found = [part for part in found if part.error > 0]
    mean = np.mean([part.equations.gram / part.error for part in found], axis=0)
    mean += 1e-6 * np.trace(mean) / len(mean) * np.eye(len(mean))
    metric = np.linalg.cholesky(mean)
    own = [
        np.linalg.solve(part.equations.gram / part.error + PRIOR * mean, part.equations.match / part.error)
        for part in found
    ]
    own = np.array([(metric.T @ weights).ravel() for weights in own])
    lengths = np.linalg.norm(own, axis=1)
    usual = own[lengths <= np.quantile(lengths, 1 - OUTLIERS)]
    components = np.linalg.svd(usual, full_matrices=False)[2][:COUNT].reshape(-1, *found[0].equations.match.shape)
    filters = np.linalg.solve(metric.T, components).transpose(0, 2, 1)
    return np.rint(filters / FILTER_UNIT).astype(np.int64)
