"""The entropy model: the hyper-synthesis h_s, the context steps, and the probabilities of what they predict.

Latents are decoded in four steps. Their channels form four groups; in each step, every group is decoded at one of the
four positions of each 2x2 square, another one for each group (the quadtree partition of DCVC-DC, Li et al. 2023). So
each step has decoded neighbours in space and in channels. h_s and the context steps are integer networks (see
``integer``): decoders on all machines predict the same means and scales.
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
from codec_models.networks.integer import (
    ACTIVATION_MAX,
    ACTIVATION_SHIFT,
    IntegerConv2d,
    activation,
    activation_conv,
    clip_through,
    round_half_up,
)

CONTEXT_SHIFT, CONTEXT_MAX = 4, 320
"""Decoded latents enter the context steps companded, as -320..320 in units of 1/16 of a quantisation step."""
NEIGHBOUR_SHIFT, NEIGHBOUR_MAX = 2, 1023
"""Decoded latents enter the prediction from neighbours as -1023..1023 in units of 1/4 of a quantisation step."""
QUALITY_SHIFT = 8
"""The quality level enters h_s in units of 1/256."""
MEAN_MAX = 4095
"""Means are -4095..4095 in units of ``2**-MEAN_SHIFT`` quantisation steps."""
SCALE_SHIFT = 3
"""The head for scales counts eight units for a scale index of real value 1, which keeps its weights near 1."""
MULTIPLES = (1.0, 0.5, 2.0, 4.0)
"""The distribution of a scale index is a mixture of Gaussians whose deviations are these multiples of its scale."""
LOG_SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_LEVELS - 1)
"""Natural logarithm of the ratio between the scales of two neighbouring scale indices."""
DENSITY = 1 / math.sqrt(2 * math.pi)
"""The standard normal density at zero."""
CACHED = 1 << 16
"""Elements that a CPU's cache holds from one operation to the next."""


def quality_level(unit_quality: Tensor) -> Tensor:
    """``unit_quality`` (B,) in [0, 1] to the integers 0..255 (B, 1, 1, 1) that h_s takes, still in floating point."""
    return torch.floor(unit_quality * MAX_QUALITY_LEVEL + 0.5).reshape(-1, 1, 1, 1)


def companded(decoded: Tensor, exact: bool) -> Tensor:
    """Decoded latents in units of 1/16 to -320..320.

    The slope is 17/16 up to 4 quantisation steps and 1/16 up to 256; beyond, the result is constant. Without
    companding, the few large latents (mean brightness) would drown the many that are 0 or 1.
    """
    return decoded.clamp(-64, 64) + round_half_up(decoded.clamp(-4096, 4096) / 16, exact)


class FactorizedPrior(EntropyBottleneck):
    """The factorised prior of hyper-latents (Balle et al. 2018).

    Unlike compressai's forward pass, this one does not read the order of dimensions back from the device, which a CUDA
    graph cannot record.
    """

    def forward(self, x: Tensor, training: bool | None = None) -> tuple[Tensor, Tensor]:
        """Values (B, N, ...), with uniform noise in training and rounded otherwise, and their probabilities."""
        mode = "noise" if (self.training if training is None else training) else "dequantize"
        channels_first = x.transpose(0, 1)  # (N, B, ...)
        values = self.quantize(channels_first.reshape(x.shape[1], 1, -1), mode, self._get_medians())
        likelihood = self.likelihood_lower_bound(self._likelihood(values)[0])
        values, likelihood = (t.reshape(channels_first.shape).transpose(0, 1) for t in (values, likelihood))
        return values, likelihood


class HyperSynthesis(nn.Module):
    """h_s: hyper-latents (B, N, h/4, w/4) to features (B, STEPS * width, h, w), a quarter of them for each step."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        width = a.parameter_width
        self.stem = IntegerConv2d(a.hyper_latents, width, in_max=HYPER_MAX, in_shift=0, out_shift=ACTIVATION_SHIFT)
        self.quality = IntegerConv2d(
            1, width, in_max=MAX_QUALITY_LEVEL, in_shift=QUALITY_SHIFT, out_shift=ACTIVATION_SHIFT
        )
        self.depthwise64 = activation_conv(width, width, depthwise=True)
        self.up32 = activation_conv(width, 4 * width)
        self.depthwise32 = activation_conv(width, width, depthwise=True)
        self.up16 = activation_conv(width, 4 * width)
        self.depthwise16 = activation_conv(width, width, depthwise=True)
        self.split = activation_conv(width, STEPS * a.context_width, activates=False)

    def forward(self, z_hat: Tensor, quality_level: Tensor) -> Tensor:
        """``z_hat`` are integers from -255 to 255, ``quality_level`` (B, 1, 1, 1) integers from 0 to 255.

        Features are integers from -1023 to 1023 in units of 1/64.
        """
        x = activation(self.stem(z_hat) + self.quality(quality_level))
        x = functional.pixel_shuffle(self.up32(self.depthwise64(x)), 2)  # (B, width, h/2, w/2)
        x = functional.pixel_shuffle(self.up16(self.depthwise32(x)), 2)  # (B, width, h, w)
        return self.split(self.depthwise16(x)).clamp(-ACTIVATION_MAX, ACTIVATION_MAX)


class ContextBlock(nn.Module):
    """A residual block of a context step: a depthwise 3x3, then two 1x1 with twice the width between them.

    It starts as the identity.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = activation_conv(width, width, depthwise=True)
        self.expand = activation_conv(width, 2 * width)
        self.contract = activation_conv(2 * width, width, activates=False)
        nn.init.zeros_(self.contract.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Activations (B, width, h, w) to activations of the same shape."""
        return activation(x + self.contract(self.expand(self.depthwise(x))))


class ContextStep(nn.Module):
    """Context step number ``step`` (0 to 3): predicts means and scales of the latents that the step decodes.

    It predicts from the step's features of h_s and from all latents that earlier steps have decoded.
    """

    def __init__(self, a: Architecture, step: int) -> None:
        super().__init__()
        width, latents = a.context_width, a.latents
        if step:
            self.context = IntegerConv2d(
                2 * latents, width, in_max=CONTEXT_MAX, in_shift=CONTEXT_SHIFT, out_shift=ACTIVATION_SHIFT
            )
            # Means of large latents need their neighbours' values, which activations of 10 bits cannot carry.
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
        self.mix1 = activation_conv(width, width, depthwise=True)
        self.mix2 = activation_conv(width, width)
        self.mix3 = activation_conv(width, width, depthwise=True)
        self.blocks = nn.Sequential(*(ContextBlock(width) for _ in range(a.context_blocks)))
        self.mean, self.scale = _head(width, latents, MEAN_SHIFT), _head(width, latents, SCALE_SHIFT)

    def forward(self, features: Tensor, decoded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means and scale indices, each (B, M, ceil(h/2), ceil(w/2)), laid out as ``gather_step`` lays out latents.

        Means are integers in units of ``2**-MEAN_SHIFT``, scale indices integers from 0 to SCALE_LEVELS - 1; in
        training without exact arithmetic, both are real numbers.

        Args:
            features: (B, width, h, w), the step's quarter of what h_s gives.
            decoded: latents (B, M, h, w), integers in units of ``2**-MEAN_SHIFT``, zero where not decoded yet. Step 0
                ignores it.
        """
        exact = self.mean.exact
        x = features
        if self.step:
            context = companded(decoded, exact)
            # Values predict means; magnitudes, whose signs do not cancel, predict scales.
            x = x + self.context(torch.cat([context, context.abs()], dim=1))
        x = self.blocks(self.mix3(self.mix2(self.mix1(activation(x)))))
        x = gather_step([x] * STEPS, self.step)  # the heads run at a quarter of all positions
        mean = self.mean(x)
        if self.step:
            units = round_half_up(decoded * 2.0 ** (NEIGHBOUR_SHIFT - MEAN_SHIFT), exact)
            neighbours = self.neighbours(units.clamp(-NEIGHBOUR_MAX, NEIGHBOUR_MAX))
            mean = mean + gather_step(neighbours.chunk(STEPS, dim=1), self.step)
        return clip_through(mean, -MEAN_MAX, MEAN_MAX), clip_through(self.scale(x), 0, SCALE_LEVELS - 1)


def _head(width: int, latents: int, shift: int) -> IntegerConv2d:
    """Activations at the positions of each group's latents, (B, STEPS * width, ...), to (B, latents, ...)."""
    layer = IntegerConv2d(
        STEPS * width, latents, in_max=ACTIVATION_MAX, in_shift=ACTIVATION_SHIFT, out_shift=shift, groups=STEPS
    )
    nn.init.normal_(layer.weight, std=0.02)
    return layer


_PHASE_SLICES = (slice(0, -1, 2), slice(1, None, 2))
"""For each phase, ceil(n/2) positions of an axis of length n that one zero follows."""


def gather_step(groups: Sequence[Tensor], step: int) -> Tensor:
    """The positions that ``step`` decodes, one in each 2x2 square, from each of ``STEPS`` groups (B, C, h, w).

    Returns (B, STEPS * C, ceil(h/2), ceil(w/2)), group after group. Where h or w is odd, positions outside are zero.
    """
    gathered = []
    for group, (row, column) in zip(groups, step_phases(step), strict=True):
        padded = functional.pad(group, (0, 1, 0, 1))
        gathered.append(padded[:, :, _PHASE_SLICES[row], _PHASE_SLICES[column]])
    return torch.cat(gathered, dim=1)


def scatter_step(values: Tensor, like: Tensor, step: int) -> Tensor:
    """The inverse of ``gather_step`` for all groups in one tensor: ``values`` (B, M, h/2, w/2) at their positions.

    Returns a tensor like ``like`` (B, M, h, w), h and w even, that is zero at the positions of other steps.
    """
    x = torch.zeros_like(like)
    size = like.shape[1] // STEPS
    for group, (part, (row, column)) in enumerate(zip(values.chunk(STEPS, dim=1), step_phases(step), strict=True)):
        x[:, group * size : (group + 1) * size, row::2, column::2] = part
    return x


class ScaleLikelihood(nn.Module):
    """Probability of the unit interval around a residual, at least 1e-9.

    The distribution is a zero-mean Gaussian. With ``mixture``, weights (SCALE_LEVELS, len(MULTIPLES)) that were fitted
    to the residuals of the trained model (see ``training.fit_mixture``), it is a mixture of Gaussians whose deviations
    are ``MULTIPLES`` of the scale.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bound = LowerBound(1e-9)
        self.register_buffer("mixture", None, persistent=False)

    def forward(self, residual: Tensor, scale_index: Tensor) -> Tensor:
        """Probabilities, for ``residual`` in quantisation steps and ``scale_index``, all of one shape."""
        return self.bound(_IntervalProbability.apply(residual, scale_index, self.mixture))


class _IntervalProbability(torch.autograd.Function):
    """The probability together with its derivatives; on a CPU in pieces that fit its cache."""

    @staticmethod
    def forward(context, residual: Tensor, scale_index: Tensor, mixture: Tensor | None) -> Tensor:
        size = CACHED if residual.device.type == "cpu" else max(1, residual.numel())
        pieces = zip(residual.reshape(-1).split(size), scale_index.reshape(-1).split(size), strict=True)
        results = [_interval(*piece, mixture) for piece in pieces]
        probability, *slopes = (torch.cat(parts).reshape(residual.shape) for parts in zip(*results, strict=True))
        context.save_for_backward(*slopes)
        return probability

    @staticmethod
    def backward(context, gradient: Tensor):
        by_residual, by_scale_index = context.saved_tensors
        return gradient * by_residual, gradient * by_scale_index, None


def _interval(residual: Tensor, scale_index: Tensor, mixture: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities (N,), and their derivatives with respect to ``residual`` and ``scale_index``."""
    distance = residual.abs()
    inverse = torch.exp(scale_index * -LOG_SCALE_STEP) / SCALE_MIN
    index = scale_index.round().long()
    # Without a mixture, the Gaussian of the first multiple, 1, has all the weight.
    shares = [1.0] if mixture is None else [column.take(index) for column in mixture.to(distance.dtype).unbind(1)]
    probability, by_distance, by_scale = (torch.zeros_like(distance) for _ in range(3))
    for share, multiple in zip(shares, MULTIPLES, strict=False):
        steepness = inverse / multiple
        high, low = ((edge - distance) * steepness for edge in (0.5, -0.5))
        high_density, low_density = (torch.exp(-0.5 * x * x) * (share * DENSITY) for x in (high, low))
        probability += (torch.erf(high * 0.5**0.5) - torch.erf(low * 0.5**0.5)) * (0.5 * share)
        by_distance -= (high_density - low_density) * steepness
        by_scale -= high * high_density - low * low_density
    return probability, by_distance * torch.sign(residual), by_scale * LOG_SCALE_STEP
