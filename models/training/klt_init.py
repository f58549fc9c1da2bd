"""Where training starts: principal components (KLT) of real patches instead of random weights.

The stem and the down-sampling of g_a become the eigenvectors of their inputs' second moments, g_s their
transposes, and the gains the step sizes that are optimal for a Gaussian source. Residual branches start
at zero, so the network starts as the best linear transform code.
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

STEP_SQUARED_TIMES_LAMBDA = 26.0
"""step^2 = 26 / lambda, in 8-bit units: found by measurement for an orthonormal transform."""

DEVIATION_FLOOR = 0.02
"""Features that vary less than this (five levels of 255) are not brought to unit variance."""


def principal_components(x: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors (as rows, largest first) and eigenvalues of the second moment of x (B, C, H, W)."""
    vectors = x.permute(1, 0, 2, 3).flatten(1).double()
    values, columns = torch.linalg.eigh(vectors @ vectors.T / vectors.shape[1])
    return columns.flip(1).T.float(), values.flip(0).clamp(min=1e-12).float()


def set_rotation(forward: nn.Conv2d, backward: nn.Conv2d, rows: Tensor) -> None:
    """Make ``forward`` the projection on ``rows`` and ``backward`` its transpose, as far as both are wide."""
    n = min(len(rows), forward.weight.shape[0])
    for layer in (forward, backward):
        nn.init.zeros_(layer.bias)
    forward.weight.mul_(0.1)
    backward.weight.mul_(0.1)
    forward.weight[:n] = rows[:n].reshape(n, -1, 1, 1)
    backward.weight[:, :n] = rows[:n].T.reshape(-1, n, 1, 1)


def set_input_scale(stages: tuple[nn.ModuleList, ...], variances: Tensor) -> None:
    """Let the blocks of ``stages`` see features of ``variances`` at about unit variance."""
    for block in itertools.chain(*stages):
        n = min(len(variances), len(block.input_scale))
        block.input_scale[:n] = (variances[:n] + DEVIATION_FLOOR**2).rsqrt()
        block.input_scale[n:] = 1 / DEVIATION_FLOOR


@torch.no_grad()
def init_from_principal_components(model: CompressionModel, recipe: Recipe, pictures: list[Tensor]) -> None:
    """Set the linear layers, gains and scale biases of a fresh model from patches of ``pictures``."""
    generator = torch.Generator().manual_seed(recipe.seed)
    x = random_batch(pictures, 256, 128 if recipe.crop > 64 else 64, 0.0, generator) - 0.5
    g_a, g_s = model.g_a, model.g_s
    rows, values = principal_components(functional.pixel_unshuffle(x, 8))
    set_rotation(g_a.stem, g_s.tail, rows)
    set_input_scale((g_a.blocks8, g_s.blocks8), values)
    features = functional.pixel_unshuffle(g_a.stem(functional.pixel_unshuffle(x, 8)), 2)
    rows, values = principal_components(features)
    set_rotation(g_a.down, g_s.up, rows)
    set_input_scale((g_a.blocks16, g_s.blocks16), values)
    set_rotation(g_a.head, g_s.head, torch.eye(model.architecture.width16))
    anchors = model.architecture.anchors
    for anchor in range(anchors):
        step = math.sqrt(STEP_SQUARED_TIMES_LAMBDA / recipe.lambda_at(anchor / max(1, anchors - 1)))
        model.gain.log_scale[anchor] = math.log(255 / step)
        model.inverse_gain.log_scale[anchor] = -math.log(255 / step)
    middle = model.gain.log_scale[anchors // 2]
    deviations = torch.full_like(middle, 1e-3)
    n = min(len(middle), len(values), model.architecture.width16)
    deviations[:n] = values[:n].sqrt()
    level = (torch.log(deviations / SCALE_MIN) + middle) / LOG_SCALE_STEP
    for step_network in model.context_steps:
        step_network.scale.bias.copy_(level.clamp(1, SCALE_LEVELS - 8) * 2.0**-SCALE_SHIFT)
