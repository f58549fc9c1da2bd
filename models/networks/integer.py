"""Layers whose inference is integer arithmetic carried in float32, exact on every machine.

An activation is an integer array; its real value is that integer times ``2**-shift``. A layer computes
``clip(floor(conv(a, w) + b))`` where ``w`` and ``b`` are integers times one power of two for each output
channel, chosen so that

    sum|w_int| * max|a| + |b_int| < 2**24

holds. Then every product and every partial sum is an integer (times that power of two) of at most 24
bits, which float32 holds exactly: the result does not depend on the order of summation, on fused
multiply-add, on threads or on the library. Training keeps real weights and rounds them on the way
(straight-through; Jacob et al. 2018 for the idea of training with quantised inference in the loop).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from codec_models.quantization.straight_through import straight_through

EXACT_LIMIT = 2**24


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
        outward = ((x < low) & (gradient > 0)) | ((x > high) & (gradient < 0))
        return gradient.masked_fill(outward, 0), None, None


def clip_through(x: Tensor, low: float, high: float) -> Tensor:
    """Clip to [low, high] so that a clipped value can find its way back, but is not driven further out.

    The gradient is the identity, except where descent would move a clipped value away from the range
    (as compressai's LowerBound, on both sides).
    """
    return _Clip.apply(x, low, high) if x.requires_grad else x.clamp(low, high)


def clipped(total: Tensor, out_max: int | None) -> Tensor:
    """What a layer clips before it rounds: the result is the same, and inference does it in the convolution.

    In training, what only rounding makes zero keeps its gradient.
    """
    return total if out_max is None else functional.hardtanh(total, 0, out_max)  # as ``clamp``, its gradient is cheaper


class IntegerConv2d(nn.Module):
    """A direct convolution (1x1, in ``groups`` of channels, or depthwise 3x3) from integers to integers.

    Args:
        in_max: the largest magnitude that an input can have.
        in_shift: inputs stand for ``integer * 2**-in_shift``.
        out_shift: outputs stand for ``integer * 2**-out_shift``.
        out_max: outputs are clipped to 0..out_max; by default, they are not.

    ``exact`` switches between training in real numbers and the integer arithmetic of inference.
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
        """Weights and biases as the integer arithmetic uses them, and the exponents ``k`` of their units.

        Returns (weight, bias, k): ``weight * 2**k`` and ``bias * 2**k`` are integers, with ``k`` (C_out,)
        chosen as the largest for which the bound above holds. The bias includes the half that turns
        ``floor`` into rounding. Gradients pass straight through.
        """
        weight = self.weight * 2.0 ** (self.out_shift - self.in_shift)
        bias = self.bias * 2.0**self.out_shift + 0.5
        with torch.no_grad():
            sums = weight.abs().sum((1, 2, 3), dtype=torch.float64) * self.in_max + bias.abs() + 0.5
            # Rounding moves each weight by at most half a unit: that share of the bound is set aside.
            room = EXACT_LIMIT - 2 - 0.5 * self.in_max * weight[0].numel()
            k = torch.floor(torch.log2(room / sums)).clamp(max=22).to(weight.dtype)
            unit = torch.exp2(-k).reshape(-1, 1, 1, 1)
            weight_rounded = torch.round(weight / unit) * unit
            bias_rounded = torch.round(bias / unit.flatten()) * unit.flatten()
        return straight_through(weight, weight_rounded), straight_through(bias, bias_rounded), k

    def forward(self, x: Tensor) -> Tensor:
        """Integers (B, C_in, H, W) in float32 to integers (B, C_out, H, W)."""
        if self.exact:
            weight, bias, _ = self.rounded()
        else:
            weight, bias = self.weight * 2.0 ** (self.out_shift - self.in_shift), self.bias * 2.0**self.out_shift
        total = clipped(functional.conv2d(x, weight, bias, padding=self.padding, groups=self.groups), self.out_max)
        return straight_through(total, torch.floor(total)) if self.exact else total

    def proof(self) -> float:
        """The largest ``sum|w_int| * max|a| + |b_int|`` of any output channel, in exact arithmetic.

        Raises:
            ValueError: when it is not below 2**24, or when a weight is not an integer in its unit.
        """
        weight, bias, exponents = (t.detach().double() for t in self.rounded())
        worst = 0.0
        for w, b, k in zip(weight, bias, exponents.tolist(), strict=True):
            unit = math.ldexp(1.0, -int(k))
            integers = torch.cat([w.flatten() / unit, (b / unit).reshape(1)])
            if not torch.equal(integers, integers.round()):
                raise ValueError("a weight of an integer layer is not an integer in its unit")
            magnitudes = [abs(int(i)) for i in integers.tolist()]
            worst = max(worst, sum(magnitudes[:-1]) * self.in_max + magnitudes[-1])
        if worst >= EXACT_LIMIT:
            raise ValueError(f"an integer layer can reach {worst:.0f}, not below 2**24: its sums are not exact")
        return worst


def set_exact(module: nn.Module, exact: bool) -> None:
    """Switch every integer layer inside ``module`` to or from integer arithmetic."""
    for layer in module.modules():
        if isinstance(layer, IntegerConv2d):
            layer.exact = exact


def is_exact(module: nn.Module) -> bool:
    """Whether any integer layer inside ``module`` is in integer arithmetic."""
    return any(layer.exact for layer in module.modules() if isinstance(layer, IntegerConv2d))
