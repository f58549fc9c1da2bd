"""The initial weights: principal components (Karhunen-Loeve transform, KLT) of patches of the training pictures.

The stem and the down-sampling of g_a become the eigenvectors of the second moments of their inputs, and g_s their
transposes. The gains become the quantisation steps that are optimal for a Gaussian source. The branches of residual
blocks start at zero, so the initial model is the best linear transform code.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from codec.entropy.constants import SCALE_LEVELS, SCALE_MIN
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.entropy import LOG_SCALE_STEP, SCALE_SHIFT
from codec_models.training.data import random_batch
from codec_models.training.recipe import Recipe

PATCHES = 256
"""Number of crops over which second moments are measured."""
SQUARED_STEP_TIMES_LAMBDA = 26.0
"""The quantisation step is sqrt(26 / lambda), in levels of 8-bit pixels. Measured for an orthonormal transform."""
DEVIATION_FLOOR = 0.02
"""In units of pixels in [0, 1]: about five levels of 255. Features with a lower standard deviation are not scaled to
unit variance."""
SMALL_WEIGHT = 0.1
"""Factor on the random weights of channels without a principal component."""
MIN_VARIANCE = 1e-12
"""Lower bound of eigenvalues. Rounding errors can make them negative."""
MIN_DEVIATION = 1e-3
"""Standard deviation assumed for latents without a principal component, in units of pixels in [0, 1]."""


def principal_components(x: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors (C, C), in rows, and eigenvalues (C,) of the second moment of ``x`` (B, C, H, W), largest first."""
    vectors = x.permute(1, 0, 2, 3).flatten(1).double()
    values, columns = torch.linalg.eigh(vectors @ vectors.T / vectors.shape[1])
    return columns.flip(1).T.float(), values.flip(0).clamp(min=MIN_VARIANCE).float()


def set_rotation(forward: nn.Conv2d, backward: nn.Conv2d, rows: Tensor) -> None:
    """Make ``forward`` the projection on ``rows`` (N, C), as far as it has channels, and ``backward`` its transpose."""
    count = min(len(rows), forward.weight.shape[0])
    for layer in (forward, backward):
        nn.init.zeros_(layer.bias)
        layer.weight.mul_(SMALL_WEIGHT)
    forward.weight[:count] = rows[:count].reshape(count, -1, 1, 1)
    backward.weight[:, :count] = rows[:count].T.reshape(-1, count, 1, 1)


def set_input_scale(stages: tuple[nn.ModuleList, ...], variances: Tensor) -> None:
    """Set the ``input_scale`` of the blocks in ``stages`` for features with these ``variances`` (N,)."""
    for block in itertools.chain(*stages):
        count = min(len(variances), len(block.input_scale))
        block.input_scale[:count] = (variances[:count] + DEVIATION_FLOOR**2).rsqrt()
        block.input_scale[count:] = 1 / DEVIATION_FLOOR


@torch.no_grad()
def init_from_principal_components(model: CompressionModel, recipe: Recipe, pictures: list[Tensor]) -> None:
    """Set the linear layers, gains and scale biases of a fresh model from ``pictures`` (uint8 (3, H, W))."""
    generator = torch.Generator().manual_seed(recipe.seed)
    x = random_batch(pictures, PATCHES, 128 if recipe.crop > 64 else 64, 0.0, generator) - 0.5
    g_a, g_s = model.g_a, model.g_s
    rows, variances = principal_components(functional.pixel_unshuffle(x, 8))
    set_rotation(g_a.stem, g_s.tail, rows)
    set_input_scale((g_a.blocks8, g_s.blocks8), variances)
    features = functional.pixel_unshuffle(g_a.stem(functional.pixel_unshuffle(x, 8)), 2)
    rows, variances = principal_components(features)
    set_rotation(g_a.down, g_s.up, rows)
    set_input_scale((g_a.blocks16, g_s.blocks16), variances)
    set_rotation(g_a.head, g_s.head, torch.eye(model.architecture.width16))
    _set_gains(model, recipe)
    _set_scale_biases(model, variances)


def _set_gains(model: CompressionModel, recipe: Recipe) -> None:
    anchors = model.architecture.anchors
    for anchor in range(anchors):
        step = math.sqrt(SQUARED_STEP_TIMES_LAMBDA / recipe.lambda_at(anchor / max(1, anchors - 1)))
        model.gain.log_scale[anchor] = math.log(255 / step)
        model.inverse_gain.log_scale[anchor] = -math.log(255 / step)


def _set_scale_biases(model: CompressionModel, variances: Tensor) -> None:
    """Let each context step predict the deviation that latents have at the middle quality."""
    log_gain = model.gain.log_scale[model.architecture.anchors // 2]
    deviations = torch.full_like(log_gain, MIN_DEVIATION)
    count = min(len(log_gain), len(variances), model.architecture.width16)
    deviations[:count] = variances[:count].sqrt()
    scale_index = (torch.log(deviations / SCALE_MIN) + log_gain) / LOG_SCALE_STEP
    for step_network in model.context_steps:
        step_network.scale.bias.copy_(scale_index.clamp(1, SCALE_LEVELS - 8) * 2.0**-SCALE_SHIFT)
