"""The blocks that the float networks (g_a, g_s, h_a) are made of, and scales that depend on the quality."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class QualityGain(nn.Module):
    """A positive scale for each channel, interpolated between learned anchors along the quality.

    In the logarithm of the scale the interpolation is linear (gained variational autoencoders,
    Cui et al. 2021, with shared anchors). Stays in float32 under autocast: in bfloat16 gains were 3 % off.
    """

    def __init__(self, channels: int, anchors: int, log_scale: Tensor | float = 0.0) -> None:
        super().__init__()
        start = torch.as_tensor(log_scale, dtype=torch.float32).reshape(-1, 1)
        self.log_scale = nn.Parameter(start.expand(anchors, channels).clone())

    def forward(self, quality: Tensor) -> Tensor:
        """Quality (B,) in [0, 1] to scales (B, C, 1, 1)."""
        anchors = self.log_scale.shape[0]
        positions = torch.arange(anchors, dtype=quality.dtype, device=quality.device)
        weights = functional.relu(1 - (quality.unsqueeze(1) * (anchors - 1) - positions).abs())  # (B, A)
        with torch.autocast(quality.device.type, enabled=False):
            return torch.exp(weights @ self.log_scale).unsqueeze(2).unsqueeze(3)


class Float32Conv1x1(nn.Conv2d):
    """A 1x1 convolution that stays in float32 under autocast.

    The layers that carry the whole signal (not a residual on top of it) need more than bfloat16's
    8 bits: a DC coefficient of 14 would otherwise be off by up to 0.03.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


BRANCH_SCALE = 0.1
"""What a residual branch's output is multiplied by: one step of the optimiser must not move features by
more than a fine quantisation step."""


class Block(nn.Module):
    """A residual block: a depthwise 3x3 between 1x1 convolutions, then a gated feed-forward part.

    The shape is DCVC-UF's (2026) at a fraction of the width. Both branches start at zero, so that a
    network of such blocks starts as the linear transform around them. The quality scales the gated
    features, which lets one network denoise more where the step is larger.

    ``input_scale`` (C,) scales what the branches see. Features are transform coefficients, whose deviations
    span four orders of magnitude: unscaled, the branches would see nothing but the mean brightness.

    Args:
        channels: C, how many go through.
        anchors: of the quality's scales.
        hidden: how many each branch computes with; by default, as many.
    """

    def __init__(self, channels: int, anchors: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = hidden or channels
        self.mix = nn.Conv2d(channels, hidden, 1)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.project = nn.Conv2d(hidden, channels, 1)
        self.expand = nn.Conv2d(channels, 2 * hidden, 1)
        self.contract = nn.Conv2d(hidden, channels, 1)
        self.scale = QualityGain(hidden, anchors)
        self.register_buffer("input_scale", torch.ones(channels))
        for last in (self.project, self.contract):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """(B, C, H, W) and quality (B,) to (B, C, H, W)."""
        x = x + branch_output(self.project, self.mixed(x))
        return x + branch_output(self.contract, self.gated(x, quality))

    def mixed(self, x: Tensor) -> Tensor:
        """What ``project`` sees of ``x``: (B, hidden, H, W)."""
        return self.depthwise(functional.leaky_relu(self._scaled(self.mix, x), 0.1))

    def gated(self, x: Tensor, quality: Tensor) -> Tensor:
        """What ``contract`` sees of ``x``: (B, hidden, H, W)."""
        value, gate = self._scaled(self.expand, x).split(self.contract.in_channels, dim=1)
        return value * torch.sigmoid(gate) * self.scale(quality)

    # Scales are on weights, not on features: that is a small fraction of the work.
    def _scaled(self, layer: nn.Conv2d, x: Tensor) -> Tensor:
        return functional.conv2d(x, layer.weight * self.input_scale.reshape(1, -1, 1, 1), layer.bias)


def branch_output(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """What the last layer of a branch of ``Block`` adds to what goes through."""
    return functional.conv2d(x, layer.weight * BRANCH_SCALE, layer.bias * BRANCH_SCALE)
