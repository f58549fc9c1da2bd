"""Principal filters: each picture's post-filter is a weighted sum of them. They are fitted when the training ends."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from codec.container.nicm import FILTER_UNIT, MAX_FILTERS
from codec.encoding.post_filter import FilterStatistics, filter_statistics
from codec_models.networks.compression_model import CompressionModel
from codec_models.training.coded_crops import DrawSimulation, coded_crops

COUNT = MAX_FILTERS
"""Number of filters. Half as many save a tenth less at high qualities, and as much at low ones."""
MAX_CROPS, MIN_CROPS, CROP_SIDE = 768, 104, 256
"""Limits of the number of crops, and their side in pixels. Between the limits, there are as many crops as in the
training: after a short training, as in tests, more would take most of the time. ``COUNT`` filters need at least as many
crops, after ``OUTLIERS`` of them and crops without an error are left out."""
PRIOR = 0.1
"""Weight of the mean statistics of all crops, added to those of one crop. Without it, a crop's filter fits noise."""
OUTLIERS = 0.02
"""Share of the crops that is left out: those with the strongest filters, for example drawings."""
REGULARISATION = 1e-6
"""Added to the diagonal of the mean Gram matrix, as a share of the mean of that diagonal."""


@torch.no_grad()
def crop_statistics(
    model: CompressionModel,
    pictures: list[Tensor],
    trained_crops: int,
    downscale: float,
    seed: int,
    draw_simulation: DrawSimulation | None = None,
) -> list[FilterStatistics]:
    """The statistics of random crops of ``pictures``, for a model that was trained on ``trained_crops`` crops.

    The other arguments are those of ``coded_crops``.
    """
    count = min(max(trained_crops, MIN_CROPS), MAX_CROPS)
    options = {"downscale": downscale, "draw_simulation": draw_simulation}
    statistics = []
    for crop in coded_crops(model, pictures, count, CROP_SIDE, seed, **options):
        pixels = (255 * crop.x[0]).round().byte().cpu().numpy()
        statistics.append(filter_statistics(pixels, crop.compressed.x_hat[0].float().cpu().numpy()))
    return statistics


def principal_filters(statistics: list[FilterStatistics]) -> np.ndarray:
    """``COUNT`` filters (COUNT, 3, FILTER_WEIGHTS) int64, in units of ``FILTER_UNIT``, from the statistics of crops.

    They are the principal components of the crops' own Wiener filters, in the metric in which the length of a filter is
    the change of pixels that it makes, relative to the crop's error. Crops without an error are ignored.
    """
    statistics = [crop for crop in statistics if crop.error > 0]
    mean = np.mean([crop.equations.gram / crop.error for crop in statistics], axis=0)
    mean += REGULARISATION * np.trace(mean) / len(mean) * np.eye(len(mean))
    metric = np.linalg.cholesky(mean)
    wiener_filters = [
        np.linalg.solve(crop.equations.gram / crop.error + PRIOR * mean, crop.equations.match / crop.error)
        for crop in statistics
    ]
    vectors = np.array([(metric.T @ weights).ravel() for weights in wiener_filters])
    lengths = np.linalg.norm(vectors, axis=1)
    vectors = vectors[lengths <= np.quantile(lengths, 1 - OUTLIERS)]
    components = np.linalg.svd(vectors, full_matrices=False)[2][:COUNT]
    components = components.reshape(-1, *statistics[0].equations.match.shape)  # (COUNT, FILTER_WEIGHTS, 3)
    filters = np.linalg.solve(metric.T, components).transpose(0, 2, 1)
    return np.rint(filters / FILTER_UNIT).astype(np.int64)
