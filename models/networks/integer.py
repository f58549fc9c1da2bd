"""Layers whose inference is integer arithmetic in float32, with the same results on every machine.

An activation is an array of integers, each of which stands for ``integer * 2**-shift``. A layer computes
``clip(floor(conv(a, w) + b))``, where ``w`` and ``b`` are integers times a power of two for each output channel, such
that

    sum|w_int| * max|a| + |b_int| < 2**24

Then every product and every partial sum is an integer (times that power of two) of at most 24 bits, which float32
holds exactly: results do not depend on the order of summation, on fused multiply-add, on threads or on the library.
Training keeps real weights and rounds them in the forward pass, with the straight-through estimator (Jacob et al. 2018
for training with quantised inference in the loop).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from codec_models.quantization.straight_through import straight_through

EXACT_LIMIT = 2**24
"""float32 holds every integer of magnitude up to this exactly."""
ACTIVATION_SHIFT, ACTIVATION_MAX = 6, 1023
"""Activations of the integer networks are 0..1023 in units of 1/64: 10 bits leave 14 for weights and sums."""
MAX_EXPONENT = 22
"""Weights are integers in units of at least ``2**-22``: outputs are integers, to which finer weights add nothing."""


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(context, x: Tensor, low: float, high: float) -> Tensor:
        context.save_for_backward(x)
        context.limits = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(context, gradient: Tensor):
        (x,) = context.saved_tensors
        low, high = context.limits
        leads_outward = ((x < low) & (gradient > 0)) | ((x > high) & (gradient < 0))
        return gradient.masked_fill(leads_outward, 0), None, None


def clip_through(x: Tensor, low: float, high: float) -> Tensor:
    """Clip to [low, high], with the gradient of the identity wherever descent does not lead further out of the range.

    So a clipped value can return to the range. (compressai's LowerBound does this for one side.)
    """
    return _Clip.apply(x, low, high) if x.requires_grad else x.clamp(low, high)


def clipped(total: Tensor, out_max: int | None) -> Tensor:
    """``total`` clipped to 0..out_max, or as it is where ``out_max`` is None.

    Layers clip before they round. The result is the same as after it, ONNX Runtime then clips inside the convolution,
    and in training a value between 0 and 1 that rounds to zero keeps its gradient.
    """
    return total if out_max is None else functional.hardtanh(total, 0, out_max)  # a cheaper gradient than ``clamp``


def activation(x: Tensor) -> Tensor:
    """The activation function of the integer networks: a ReLU that is clipped at ``ACTIVATION_MAX``."""
    return clipped(x, ACTIVATION_MAX)


def round_half_up(x: Tensor, exact: bool) -> Tensor:
    """``x`` rounded to integers, halves up, where ``exact``, else ``x`` itself. Gradient: the identity."""
    return straight_through(x, torch.floor(x + 0.5)) if exact else x


class IntegerConv2d(nn.Module):
    """A convolution from integers to integers: 1x1 in ``groups`` of channels, or depthwise 3x3.

    Args:
        in_max: the largest magnitude of an input integer.
        in_shift: inputs stand for ``integer * 2**-in_shift``.
        out_shift: outputs stand for ``integer * 2**-out_shift``.
        out_max: outputs are clipped to 0..out_max; by default they are not.

    The attribute ``exact`` switches from real numbers, for training, to the integer arithmetic of inference.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        in_max: int,
        in_shift: int,
        out_shift: int,
        out_max: int | None = None,
        groups: int = 1,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.groups = in_channels if depthwise else groups
        kernel = 3 if depthwise else 1
        self.padding = kernel // 2
        self.in_max, self.in_shift, self.out_shift, self.out_max = in_max, in_shift, out_shift, out_max
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // self.groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        self.exact = False

    def rounded(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weight, bias and exponents of the integer arithmetic. The gradients of weight and bias pass straight through.

        Returns (weight, bias, k): ``weight * 2**k`` (C_out, C_in / groups, K, K) and ``bias * 2**k`` (C_out,) are
        integers. ``k`` (C_out,) are exponents, up to 22, for which the bound of 2**24 holds whatever the rounding
        (nearly the largest). The bias includes the half that turns ``floor`` into rounding.
        """
        weight = self.weight * 2.0 ** (self.out_shift - self.in_shift)
        bias = self.bias * 2.0**self.out_shift + 0.5
        with torch.no_grad():
            sums = weight.abs().sum((1, 2, 3), dtype=torch.float64) * self.in_max + bias.abs() + 0.5
            # Rounding moves each weight by at most half a unit: that part of the limit is set aside.
            limit = EXACT_LIMIT - 2 - 0.5 * self.in_max * weight[0].numel()
            k = torch.floor(torch.log2(limit / sums)).clamp(max=MAX_EXPONENT).to(weight.dtype)
            unit = torch.exp2(-k).reshape(-1, 1, 1, 1)
            weight_rounded = torch.round(weight / unit) * unit
            bias_rounded = torch.round(bias / unit.flatten()) * unit.flatten()
        return straight_through(weight, weight_rounded), straight_through(bias, bias_rounded), k

    def forward(self, x: Tensor) -> Tensor:
        """Integers (B, C_in, H, W) to integers (B, C_out, H, W), all in float32; real numbers unless ``exact``."""
        if self.exact:
            weight, bias, _ = self.rounded()
        else:
            weight, bias = self.weight * 2.0 ** (self.out_shift - self.in_shift), self.bias * 2.0**self.out_shift
        total = clipped(functional.conv2d(x, weight, bias, padding=self.padding, groups=self.groups), self.out_max)
        return straight_through(total, torch.floor(total)) if self.exact else total

    def proof(self) -> float:
        """The largest ``sum|w_int| * max|a| + |b_int|`` of any output channel, computed in Python's integers.

        Raises:
            ValueError: when it is not below 2**24, or when a weight is not an integer in its unit.
        """
        weight, bias, exponents = (t.detach().double() for t in self.rounded())
        bound = 0.0
        for w, b, k in zip(weight, bias, exponents.tolist(), strict=True):
            unit = math.ldexp(1.0, -int(k))
            integers = torch.cat([w.flatten() / unit, (b / unit).reshape(1)])
            if not torch.equal(integers, integers.round()):
                raise ValueError("a weight of an integer layer is not an integer in its unit")
            magnitudes = [abs(int(i)) for i in integers.tolist()]
            bound = max(bound, sum(magnitudes[:-1]) * self.in_max + magnitudes[-1])
        if bound >= EXACT_LIMIT:
            raise ValueError(f"an integer layer can reach {bound:.0f}, not below 2**24: its sums are not exact")
        return bound


def activation_conv(
    in_channels: int, out_channels: int, *, depthwise: bool = False, activates: bool = True
) -> IntegerConv2d:
    """An integer layer whose input and output are in the units of activations.

    With ``activates``, the output goes through ``activation``; without, it is for a sum that does so.
    """
    return IntegerConv2d(
        in_channels,
        out_channels,
        in_max=ACTIVATION_MAX,
        in_shift=ACTIVATION_SHIFT,
        out_shift=ACTIVATION_SHIFT,
        out_max=ACTIVATION_MAX if activates else None,
        depthwise=depthwise,
    )


def set_exact(module: nn.Module, exact: bool) -> None:
    """Switch every integer layer inside ``module`` to integer arithmetic (``exact``) or to real numbers."""
    for layer in module.modules():
        if isinstance(layer, IntegerConv2d):
            layer.exact = exact


def is_exact(module: nn.Module) -> bool:
    """Whether any integer layer inside ``module`` is switched to integer arithmetic."""
    return any(layer.exact for layer in module.modules() if isinstance(layer, IntegerConv2d))
