"""Layers of the float networks (g_a, g_s, h_a): residual blocks, and scales that depend on the quality."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

BRANCH_SCALE = 0.1
"""Factor (no unit) on the output of a residual branch. One optimiser step must not move features by more than a fine
quantisation step."""
LEAKY_SLOPE = 0.1
"""Slope (no unit) of the float networks' leaky ReLUs below zero."""


class QualityGain(nn.Module):
    """A positive scale for each channel that depends on the quality (Cui et al. 2021).

    The scale is learned at ``anchors`` qualities, evenly spaced in [0, 1]; between two anchors its logarithm is
    interpolated linearly. The computation stays in float32 under autocast: in bfloat16 the gains were 3 % off.
    """

    def __init__(self, channels: int, anchors: int, log_scale: Tensor | float = 0.0) -> None:
        super().__init__()
        start = torch.as_tensor(log_scale, dtype=torch.float32).reshape(-1, 1)
        self.log_scale = nn.Parameter(start.expand(anchors, channels).clone())

    def forward(self, unit_quality: Tensor) -> Tensor:
        """``unit_quality`` (B,) in [0, 1] to scales (B, C, 1, 1)."""
        anchors = self.log_scale.shape[0]
        positions = torch.arange(anchors, dtype=unit_quality.dtype, device=unit_quality.device)
        weights = functional.relu(1 - (unit_quality.unsqueeze(1) * (anchors - 1) - positions).abs())  # (B, anchors)
        with torch.autocast(unit_quality.device.type, enabled=False):
            return torch.exp(weights @ self.log_scale).unsqueeze(2).unsqueeze(3)


class Float32Conv1x1(nn.Conv2d):
    """A 1x1 convolution that stays in float32 under autocast.

    Layers that carry the whole signal, and not a residual on top of it, need more than the 8 bits of bfloat16: a
    DC coefficient of 14 would be off by up to 0.03.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Block(nn.Module):
    """A residual block of two branches, both at a fraction of the width of those of DCVC-UF (Li et al. 2026).

    The first branch is a depthwise 3x3 convolution between two 1x1 convolutions. The second one is a gated
    feed-forward layer: ``contract(value(x) * sigmoid(gate(x)) * scale(quality))``. The scale lets one network denoise
    more where the quantisation step is larger. Both branches start at zero, so that a network of such blocks starts
    as the linear transform around them.

    The buffer ``input_scale`` (C,) multiplies the input of each branch. Features are transform coefficients, whose
    deviations span four orders of magnitude: without the scale, branches would respond to the mean brightness alone.

    Args:
        channels: C, the channels of input and output.
        anchors: qualities at which ``scale`` is learned.
        hidden: channels inside each branch; by default C.
    """

    def __init__(self, channels: int, anchors: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = hidden or channels
        self.mix = nn.Conv2d(channels, hidden, 1)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.project = nn.Conv2d(hidden, channels, 1)
        # Two convolutions, not one that is split behind: ONNX Runtime fuses each with what follows it.
        self.value = nn.Conv2d(channels, hidden, 1)
        self.gate = nn.Conv2d(channels, hidden, 1)
        self.contract = nn.Conv2d(hidden, channels, 1)
        self.scale = QualityGain(hidden, anchors)
        self.register_buffer("input_scale", torch.ones(channels))
        for layer in (self.project, self.contract):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, unit_quality: Tensor) -> Tensor:
        """Features (B, C, H, W) to features of the same shape, for ``unit_quality`` (B,) in [0, 1]."""
        x = x + branch_output(self.project, self.mixed(x))
        return x + branch_output(self.contract, self.gated(x, unit_quality))

    def mixed(self, x: Tensor) -> Tensor:
        """The input (B, hidden, H, W) of ``project``, from features (B, C, H, W)."""
        return self.depthwise(functional.leaky_relu(self._scaled(self.mix, x), LEAKY_SLOPE))

    def gated(self, x: Tensor, unit_quality: Tensor) -> Tensor:
        """The input (B, hidden, H, W) of ``contract``, from features (B, C, H, W)."""
        value, gate = self._scaled(self.value, x), self._scaled(self.gate, x)
        return value * torch.sigmoid(gate) * self.scale(unit_quality)

    def _scaled(self, layer: nn.Conv2d, x: Tensor) -> Tensor:
        """``layer(x * input_scale)``. The scale is put on the weights, which are far fewer than the features."""
        return functional.conv2d(x, layer.weight * self.input_scale.reshape(1, -1, 1, 1), layer.bias)


def branch_output(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """``BRANCH_SCALE * layer(x)`` for the last layer of a branch of ``Block``: (B, hidden, H, W) to (B, C, H, W)."""
    return functional.conv2d(x, layer.weight * BRANCH_SCALE, layer.bias * BRANCH_SCALE)
