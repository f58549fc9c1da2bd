"""The entropy model: integer hyper-synthesis h_s and the context steps that predict mean and scale.

Latents are decoded in four steps. The channels form four groups; in each step every group is decoded
at one of the four positions of each 2x2 cell, a different one for each group (the quadtree partition of
DCVC-DC, Li et al. 2023), so each step sees neighbours in space and in channels. Everything here is
integer arithmetic (see ``integer``): its results are the same on every machine.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.ops import LowerBound
from torch import Tensor, nn
from torch.nn import functional

from codec.tables import (
    HYPER_MAX,
    MEAN_SHIFT,
    QUALITY_MAX,
    SCALE_LEVELS,
    SCALE_MAX,
    SCALE_MIN,
    STEPS,
    step_phases,
)
from models.architecture import Architecture
from models.integer import IntegerConv2d, clip_through
from models.quantize import straight_through

HIDDEN_SHIFT, HIDDEN_MAX = 6, 1023
"""Hidden activations are 0..1023 in units of 1/64."""
CONTEXT_SHIFT, CONTEXT_MAX = 4, 320
"""Decoded latents enter the context steps companded, as -320..320 in units of 1/16."""
NEIGHBOUR_SHIFT, NEIGHBOUR_MAX = 2, 1023
"""Decoded latents enter the prediction from neighbours as -1023..1023 in units of 1/4."""
QUALITY_SHIFT = 8
"""The quality enters h_s in units of 1/256."""
MEAN_MAX = 4095
"""Means are -4095..4095 in units of ``2**-MEAN_SHIFT``."""
SCALE_SHIFT = 3
"""A scale index is a head's output in units of 1/8, which keeps the head's weights near 1."""
MULTIPLES = (1.0, 0.5, 2.0, 4.0)
"""Of its scale: the deviations of the Gaussians that an index's distribution is mixed from."""
LOG_SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)


def quality_level(quality: Tensor) -> Tensor:
    """Quality (B,) in [0, 1] to the integers (B, 1, 1, 1) that h_s takes, still in floating point."""
    return torch.floor(quality * QUALITY_MAX + 0.5).reshape(-1, 1, 1, 1)


def hidden(x: Tensor) -> Tensor:
    """The activation function of the integer networks: a clipped ReLU."""
    return x.clamp(0, HIDDEN_MAX)


def rounded(x: Tensor, exact: bool) -> Tensor:
    """Round half up in integer arithmetic, with the gradient of the identity; nothing otherwise."""
    return straight_through(x, torch.floor(x + 0.5)) if exact else x


def companded(decoded: Tensor, exact: bool) -> Tensor:
    """Latents in units of 1/16 to -320..320: at full scale up to 4 steps, at a sixteenth from there on.

    Uncompanded, the few large latents (mean brightness) would drown the many that are 0 or 1.
    """
    return decoded.clamp(-64, 64) + rounded(decoded.clamp(-4096, 4096) / 16, exact)


def hidden_conv(in_channels: int, out_channels: int, *, depthwise: bool = False) -> IntegerConv2d:
    """A layer from hidden activations to hidden activations."""
    return IntegerConv2d(
        in_channels,
        out_channels,
        in_max=HIDDEN_MAX,
        in_shift=HIDDEN_SHIFT,
        out_shift=HIDDEN_SHIFT,
        depthwise=depthwise,
    )


class HyperPrior(EntropyBottleneck):
    """The factorised prior of hyper-latents (Balle et al. 2018), with a forward pass that never waits.

    compressai's reads the order of dimensions back from the device, which no CUDA graph can record.
    """

    def forward(self, x: Tensor, training: bool | None = None) -> tuple[Tensor, Tensor]:
        """Values (B, N, ...) with noise in training, else rounded, and their probabilities."""
        mode = "noise" if (self.training if training is None else training) else "dequantize"
        channels_first = x.transpose(0, 1)  # (N, B, ...)
        values = self.quantize(channels_first.reshape(x.shape[1], 1, -1), mode, self._get_medians())
        likelihood = self.likelihood_lower_bound(self._likelihood(values)[0])
        values, likelihood = (t.reshape(channels_first.shape).transpose(0, 1) for t in (values, likelihood))
        return values, likelihood


class HyperSynthesis(nn.Module):
    """h_s: integer hyper-latents (B, N, h/4, w/4) to features (B, 4 * width, h, w), a quarter for each step."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        width = a.parameter_width
        self.stem = IntegerConv2d(a.hyper_latents, width, in_max=HYPER_MAX, in_shift=0, out_shift=HIDDEN_SHIFT)
        self.quality = IntegerConv2d(1, width, in_max=QUALITY_MAX, in_shift=QUALITY_SHIFT, out_shift=HIDDEN_SHIFT)
        self.depthwise64 = hidden_conv(width, width, depthwise=True)
        self.up32 = hidden_conv(width, 4 * width)
        self.depthwise32 = hidden_conv(width, width, depthwise=True)
        self.up16 = hidden_conv(width, 4 * width)
        self.depthwise16 = hidden_conv(width, width, depthwise=True)
        self.split = hidden_conv(width, STEPS * a.context_width)

    def forward(self, z_hat: Tensor, quality_level: Tensor) -> Tensor:
        """``z_hat`` holds integers in [-255, 255]; ``quality_level`` (B, 1, 1, 1) integers in [0, 255]."""
        x = hidden(self.stem(z_hat) + self.quality(quality_level))
        x = hidden(self.depthwise64(x))
        x = functional.pixel_shuffle(hidden(self.up32(x)), 2)  # (B, width, h/2, w/2)
        x = hidden(self.depthwise32(x))
        x = functional.pixel_shuffle(hidden(self.up16(x)), 2)  # (B, width, h, w)
        x = hidden(self.depthwise16(x))
        return self.split(x).clamp(-HIDDEN_MAX, HIDDEN_MAX)


class ContextBlock(nn.Module):
    """A residual block of a context step: a depthwise 3x3, then two 1x1 with twice the width between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = hidden_conv(width, width, depthwise=True)
        self.expand = hidden_conv(width, 2 * width)
        self.contract = hidden_conv(2 * width, width)
        nn.init.zeros_(self.contract.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Hidden activations (B, width, h, w) to hidden activations; at first the same."""
        return hidden(x + self.contract(hidden(self.expand(hidden(self.depthwise(x))))))


class ContextStep(nn.Module):
    """One context step: features of h_s and what is decoded so far, to mean and scale index of every latent."""

    def __init__(self, a: Architecture, first: bool) -> None:
        super().__init__()
        width, latents = a.context_width, a.latents
        if not first:
            self.context = IntegerConv2d(
                2 * latents, width, in_max=CONTEXT_MAX, in_shift=CONTEXT_SHIFT, out_shift=HIDDEN_SHIFT
            )
            # What hidden activations of 10 bits cannot carry: neighbours' values themselves, for large latents.
            self.neighbours = IntegerConv2d(
                latents,
                latents,
                in_max=NEIGHBOUR_MAX,
                in_shift=NEIGHBOUR_SHIFT,
                out_shift=MEAN_SHIFT,
                depthwise=True,
            )
            nn.init.zeros_(self.neighbours.weight)
            nn.init.normal_(self.context.weight, std=0.7 / math.sqrt(latents))
        self.first = first
        self.mix1 = hidden_conv(width, width, depthwise=True)
        self.mix2 = hidden_conv(width, width)
        self.mix3 = hidden_conv(width, width, depthwise=True)
        self.blocks = nn.Sequential(*(ContextBlock(width) for _ in range(a.context_blocks)))
        self.mean = IntegerConv2d(width, latents, in_max=HIDDEN_MAX, in_shift=HIDDEN_SHIFT, out_shift=MEAN_SHIFT)
        self.scale = IntegerConv2d(width, latents, in_max=HIDDEN_MAX, in_shift=HIDDEN_SHIFT, out_shift=SCALE_SHIFT)
        for head in (self.mean, self.scale):
            nn.init.normal_(head.weight, std=0.02)

    def trunk(self, features: Tensor, decoded: Tensor | None) -> Tensor:
        """What the heads see: hidden activations (B, width, h, w). Arguments as for ``forward``."""
        x = features
        if not self.first:
            context = companded(decoded, self.mean.exact)
            # Values predict means; magnitudes, whose signs no longer cancel, predict scales.
            x = x + self.context(torch.cat([context, context.abs()], dim=1))
        x = hidden(self.mix1(hidden(x)))
        x = hidden(self.mix2(x))
        return self.blocks(hidden(self.mix3(x)))

    def neighbour_units(self, decoded: Tensor) -> Tensor:
        """Decoded latents (B, M, h, w) as ``neighbours`` takes them."""
        units = rounded(decoded * 2.0 ** (NEIGHBOUR_SHIFT - MEAN_SHIFT), self.mean.exact)
        return units.clamp(-NEIGHBOUR_MAX, NEIGHBOUR_MAX)

    def forward(self, features: Tensor, decoded: Tensor | None) -> tuple[Tensor, Tensor]:
        """Predict from ``features`` (B, width, h, w) and ``decoded`` (B, M, h, w), zero where still unknown.

        ``decoded`` and the means returned are integers in units of ``2**-MEAN_SHIFT``; scale indices
        are integers in [0, SCALE_LEVELS). In training without exact arithmetic both are real numbers.
        """
        x = self.trunk(features, decoded)
        mean = self.mean(x) if self.first else self.mean(x) + self.neighbours(self.neighbour_units(decoded))
        return bounded(mean, self.scale(x))


def bounded(mean: Tensor, scale_index: Tensor) -> tuple[Tensor, Tensor]:
    """What the heads of a context step give, within the ranges that means and scale indices have."""
    return clip_through(mean, -MEAN_MAX, MEAN_MAX), clip_through(scale_index, 0, SCALE_LEVELS - 1)


@lru_cache(maxsize=16)
def step_masks(latents: int, height: int, width: int, device: torch.device) -> Tensor:
    """Which latents each step decodes: (STEPS, 1, M, h, w) of 0.0 and 1.0, summing to 1 over the steps."""
    rows = torch.arange(height, device=device).reshape(1, -1, 1)
    columns = torch.arange(width, device=device).reshape(1, 1, -1)
    groups = torch.arange(latents, device=device).reshape(-1, 1, 1) // (latents // STEPS)
    masks = []
    for step in range(STEPS):
        phases = torch.tensor(step_phases(step), device=device)[groups]  # (M, 1, 1, 2)
        masks.append((rows % 2 == phases[..., 0]) & (columns % 2 == phases[..., 1]))
    return torch.stack(masks).unsqueeze(1).float()


class ScaleLikelihood(nn.Module):
    """Probability of a unit interval around a residual under a zero-mean Gaussian, bounded away from zero.

    Once ``mixture`` is set: under a mixture of Gaussians of ``MULTIPLES`` of the scale, with the weights
    (SCALE_LEVELS, len(MULTIPLES)) that were fitted to what the model codes (see ``symbol_tables``).
    """

    def __init__(self) -> None:
        super().__init__()
        self.bound = LowerBound(1e-9)
        self.register_buffer("mixture", None, persistent=False)

    def forward(self, residual: Tensor, scale_index: Tensor) -> Tensor:
        """``residual`` and ``scale_index`` of one shape to probabilities of that shape."""
        scale = SCALE_MIN * torch.exp(scale_index * LOG_SCALE_STEP)
        if self.mixture is None:
            return self.bound(_interval(residual, scale))
        index = scale_index.round().long()
        shares = (row.take(index) for row in self.mixture.float().unbind(1))
        parts = (share * _interval(residual, m * scale) for share, m in zip(shares, MULTIPLES, strict=True))
        return self.bound(sum(parts))


def _interval(residual: Tensor, scale: Tensor) -> Tensor:
    distance = residual.abs()
    return torch.special.ndtr((0.5 - distance) / scale) - torch.special.ndtr((-0.5 - distance) / scale)
