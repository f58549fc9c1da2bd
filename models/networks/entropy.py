"""The entropy model: integer hyper-synthesis h_s and the context steps that predict mean and scale.

Latents are decoded in four steps. The channels form four groups; in each step every group is decoded
at one of the four positions of each 2x2 cell, a different one for each group (the quadtree partition of
DCVC-DC, Li et al. 2023), so each step sees neighbours in space and in channels. Everything here is
integer arithmetic (see ``integer``): its results are the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.ops import LowerBound
from torch import Tensor, nn
from torch.nn import functional

from codec.entropy.constants import (
    HYPER_MAX,
    MAX_QUALITY_LEVEL,
    MEAN_SHIFT,
    SCALE_LEVELS,
    SCALE_MAX,
    SCALE_MIN,
    STEPS,
    step_phases,
)
from codec_models.networks.architecture import Architecture
from codec_models.networks.integer import IntegerConv2d, clip_through, clipped
from codec_models.quantization.straight_through import straight_through

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
DENSITY = 1 / math.sqrt(2 * math.pi)
CACHED = 1 << 16
"""So many numbers stay in a CPU's cache from one operation to the next."""


def quality_level(quality: Tensor) -> Tensor:
    """Quality (B,) in [0, 1] to the integers (B, 1, 1, 1) that h_s takes, still in floating point."""
    return torch.floor(quality * MAX_QUALITY_LEVEL + 0.5).reshape(-1, 1, 1, 1)


def hidden(x: Tensor) -> Tensor:
    """The activation function of the integer networks: a clipped ReLU. ``hidden_conv`` ends with it."""
    return clipped(x, HIDDEN_MAX)


def rounded(x: Tensor, exact: bool) -> Tensor:
    """Round half up in integer arithmetic, with the gradient of the identity; nothing otherwise."""
    return straight_through(x, torch.floor(x + 0.5)) if exact else x


def companded(decoded: Tensor, exact: bool) -> Tensor:
    """Latents in units of 1/16 to -320..320: at full scale up to 4 steps, at a sixteenth from there on.

    Uncompanded, the few large latents (mean brightness) would drown the many that are 0 or 1.
    """
    return decoded.clamp(-64, 64) + rounded(decoded.clamp(-4096, 4096) / 16, exact)


def hidden_conv(in_channels: int, out_channels: int, *, depthwise: bool = False, ends: bool = True) -> IntegerConv2d:
    """A layer from hidden activations to hidden activations; without ``ends``, to what something is added to."""
    return IntegerConv2d(
        in_channels,
        out_channels,
        in_max=HIDDEN_MAX,
        in_shift=HIDDEN_SHIFT,
        out_shift=HIDDEN_SHIFT,
        out_max=HIDDEN_MAX if ends else None,
        depthwise=depthwise,
    )


class FactorizedPrior(EntropyBottleneck):
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
        self.quality = IntegerConv2d(1, width, in_max=MAX_QUALITY_LEVEL, in_shift=QUALITY_SHIFT, out_shift=HIDDEN_SHIFT)
        self.depthwise64 = hidden_conv(width, width, depthwise=True)
        self.up32 = hidden_conv(width, 4 * width)
        self.depthwise32 = hidden_conv(width, width, depthwise=True)
        self.up16 = hidden_conv(width, 4 * width)
        self.depthwise16 = hidden_conv(width, width, depthwise=True)
        self.split = hidden_conv(width, STEPS * a.context_width, ends=False)

    def forward(self, z_hat: Tensor, quality_level: Tensor) -> Tensor:
        """``z_hat`` holds integers in [-255, 255]; ``quality_level`` (B, 1, 1, 1) integers in [0, 255]."""
        x = hidden(self.stem(z_hat) + self.quality(quality_level))
        x = functional.pixel_shuffle(self.up32(self.depthwise64(x)), 2)  # (B, width, h/2, w/2)
        x = functional.pixel_shuffle(self.up16(self.depthwise32(x)), 2)  # (B, width, h, w)
        return self.split(self.depthwise16(x)).clamp(-HIDDEN_MAX, HIDDEN_MAX)


class ContextBlock(nn.Module):
    """A residual block of a context step: a depthwise 3x3, then two 1x1 with twice the width between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = hidden_conv(width, width, depthwise=True)
        self.expand = hidden_conv(width, 2 * width)
        self.contract = hidden_conv(2 * width, width, ends=False)
        nn.init.zeros_(self.contract.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Hidden activations (B, width, h, w) to hidden activations; at first the same."""
        return hidden(x + self.contract(self.expand(self.depthwise(x))))


class ContextStep(nn.Module):
    """Context step number ``step``: features of h_s and what is decoded so far, to means and scale indices.

    Those of the latents that the step decodes: see ``gather_step``.
    """

    def __init__(self, a: Architecture, step: int) -> None:
        super().__init__()
        width, latents = a.context_width, a.latents
        if step:
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
        self.step = step
        self.mix1 = hidden_conv(width, width, depthwise=True)
        self.mix2 = hidden_conv(width, width)
        self.mix3 = hidden_conv(width, width, depthwise=True)
        self.blocks = nn.Sequential(*(ContextBlock(width) for _ in range(a.context_blocks)))
        self.mean, self.scale = _head(width, latents, MEAN_SHIFT), _head(width, latents, SCALE_SHIFT)

    def trunk(self, features: Tensor, decoded: Tensor | None) -> Tensor:
        """What the heads see: hidden activations (B, width, h, w). Arguments as for ``forward``."""
        x = features
        if self.step:
            context = companded(decoded, self.mean.exact)
            # Values predict means; magnitudes, whose signs no longer cancel, predict scales.
            x = x + self.context(torch.cat([context, context.abs()], dim=1))
        return self.blocks(self.mix3(self.mix2(self.mix1(hidden(x)))))

    def neighbour_units(self, decoded: Tensor) -> Tensor:
        """Decoded latents (B, M, h, w) as ``neighbours`` takes them."""
        units = rounded(decoded * 2.0 ** (NEIGHBOUR_SHIFT - MEAN_SHIFT), self.mean.exact)
        return units.clamp(-NEIGHBOUR_MAX, NEIGHBOUR_MAX)

    def forward(self, features: Tensor, decoded: Tensor | None) -> tuple[Tensor, Tensor]:
        """Predict from ``features`` (B, width, h, w) and ``decoded`` (B, M, h, w), zero where still unknown.

        ``decoded`` and the means returned, (B, M, h/2, w/2), are integers in units of ``2**-MEAN_SHIFT``; scale
        indices, as many, are integers in [0, SCALE_LEVELS). In training without exact arithmetic both are real numbers.
        """
        x = self.trunk(features, decoded)
        x = gather_step([x] * STEPS, self.step)
        mean = self.mean(x)
        if self.step:
            neighbours = self.neighbours(self.neighbour_units(decoded))
            mean = mean + gather_step(neighbours.chunk(STEPS, dim=1), self.step)
        return bounded(mean, self.scale(x))


def _head(width: int, latents: int, shift: int) -> IntegerConv2d:
    """From hidden activations at the positions of each group's latents, (B, STEPS * width, ...), to the latents."""
    layer = IntegerConv2d(
        STEPS * width, latents, in_max=HIDDEN_MAX, in_shift=HIDDEN_SHIFT, out_shift=shift, groups=STEPS
    )
    nn.init.normal_(layer.weight, std=0.02)
    return layer


def bounded(mean: Tensor, scale_index: Tensor) -> tuple[Tensor, Tensor]:
    """What the heads of a context step give, within the ranges that means and scale indices have."""
    return clip_through(mean, -MEAN_MAX, MEAN_MAX), clip_through(scale_index, 0, SCALE_LEVELS - 1)


def gather_step(groups: Sequence[Tensor], step: int) -> Tensor:
    """Of each of ``STEPS`` groups (B, C, h, w) what ``step`` decodes, a position in each 2x2 cell.

    Side by side: (B, STEPS * C, ceil(h/2), ceil(w/2)). Where h or w is odd, zeros make up the last cells.
    """
    found = []
    for group, (row, column) in zip(groups, step_phases(step), strict=True):
        even = functional.pad(group, (0, group.shape[3] % 2, 0, group.shape[2] % 2))
        found.append(even[:, :, row::2, column::2])
    return torch.cat(found, dim=1)


def scatter_step(values: Tensor, like: Tensor, step: int) -> Tensor:
    """What ``gather_step`` takes ``values`` from, as one tensor like ``like``, of even h and w; zero elsewhere."""
    x = torch.zeros_like(like)
    size = like.shape[1] // STEPS
    for group, (part, (row, column)) in enumerate(zip(values.chunk(STEPS, dim=1), step_phases(step), strict=True)):
        x[:, group * size : (group + 1) * size, row::2, column::2] = part
    return x


class ScaleLikelihood(nn.Module):
    """Probability of a unit interval around a residual under a zero-mean Gaussian, bounded away from zero.

    Once ``mixture`` is set: under a mixture of Gaussians of ``MULTIPLES`` of the scale, with the weights
    (SCALE_LEVELS, len(MULTIPLES)) that were fitted to what the model codes (see ``frequency_tables``).
    """

    def __init__(self) -> None:
        super().__init__()
        self.bound = LowerBound(1e-9)
        self.register_buffer("mixture", None, persistent=False)

    def forward(self, residual: Tensor, scale_index: Tensor) -> Tensor:
        """``residual`` and ``scale_index`` of one shape to probabilities of that shape."""
        return self.bound(_IntervalProbability.apply(residual, scale_index, self.mixture))


class _IntervalProbability(torch.autograd.Function):
    """The probability with its derivatives, computed together, on a CPU in parts that its cache holds."""

    @staticmethod
    def forward(context, residual: Tensor, scale_index: Tensor, mixture: Tensor | None) -> Tensor:
        size = CACHED if residual.device.type == "cpu" else max(1, residual.numel())
        both = (x.reshape(-1).split(size) for x in (residual, scale_index))
        found = [_interval(*part, mixture) for part in zip(*both, strict=True)]
        probability, *slopes = (torch.cat(parts).reshape(residual.shape) for parts in zip(*found, strict=True))
        context.save_for_backward(*slopes)
        return probability

    @staticmethod
    def backward(context, gradient: Tensor):
        by_residual, by_scale_index = context.saved_tensors
        return gradient * by_residual, gradient * by_scale_index, None


def _interval(residual: Tensor, scale_index: Tensor, mixture: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities (N,), and their derivatives by ``residual`` and ``scale_index``."""
    distance = residual.abs()
    inverse = torch.exp(scale_index * -LOG_SCALE_STEP) / SCALE_MIN
    level = scale_index.round().long()
    # Without a mixture it is the first multiple's Gaussian, of the scale itself.
    shares = [1.0] if mixture is None else [column.take(level) for column in mixture.to(distance.dtype).unbind(1)]
    probability, by_distance, by_scale = (torch.zeros_like(distance) for _ in range(3))
    for share, multiple in zip(shares, MULTIPLES, strict=False):
        steepness = inverse / multiple
        high, low = ((edge - distance) * steepness for edge in (0.5, -0.5))
        high_density, low_density = (torch.exp(-0.5 * x * x) * (share * DENSITY) for x in (high, low))
        probability += (torch.erf(high * 0.5**0.5) - torch.erf(low * 0.5**0.5)) * (0.5 * share)
        by_distance -= (high_density - low_density) * steepness
        by_scale -= high * high_density - low * low_density
    return probability, by_distance * torch.sign(residual), by_scale * LOG_SCALE_STEP
