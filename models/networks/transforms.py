"""The float networks: the analysis transform g_a, the synthesis transform g_s, and the hyper-analysis h_a."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from codec_models.networks.architecture import Architecture
from codec_models.networks.layers import LEAKY_SLOPE, Block, Float32Conv1x1

HYPER_GAIN = 8
"""Factor (no unit) on the first weights of h_a's last layer: hyper-latents that all round to zero would not learn."""


class Analysis(nn.Module):
    """g_a: pictures (B, 3, H, W) in [0, 1], H and W multiples of 16, to latents (B, M, H/16, W/16) before the gain."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.stem = Float32Conv1x1(3 * 8 * 8, a.width8)
        self.blocks8 = nn.ModuleList(Block(a.width8, a.anchors) for _ in range(a.analysis_blocks8))
        self.down = Float32Conv1x1(4 * a.width8, a.width16)
        self.blocks16 = nn.ModuleList(Block(a.width16, a.anchors) for _ in range(a.analysis_blocks16))
        self.head = Float32Conv1x1(a.width16, a.latents)

    def forward(self, x: Tensor, unit_quality: Tensor) -> Tensor:
        """Analyse pictures ``x`` for ``unit_quality`` (B,) in [0, 1]."""
        x = self.stem(functional.pixel_unshuffle(x - 0.5, 8))  # (B, width8, H/8, W/8)
        for block in self.blocks8:
            x = block(x, unit_quality)
        x = self.down(functional.pixel_unshuffle(x, 2))  # (B, width16, H/16, W/16)
        for block in self.blocks16:
            x = block(x, unit_quality)
        return self.head(x)  # (B, M, H/16, W/16)


class Synthesis(nn.Module):
    """g_s: latents (B, M, h, w) after the inverse gain to pictures (B, 3, 16h, 16w), not clamped to [0, 1]."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.head = Float32Conv1x1(a.latents, a.width16)
        self.blocks16 = nn.ModuleList(
            Block(a.width16, a.anchors, a.synthesis_hidden16) for _ in range(a.synthesis_blocks16)
        )
        self.up = Float32Conv1x1(a.width16, 4 * a.width8)
        self.blocks8 = nn.ModuleList(
            Block(a.width8, a.anchors, a.synthesis_hidden8) for _ in range(a.synthesis_blocks8)
        )
        self.tail = Float32Conv1x1(a.width8, 3 * 8 * 8)

    def forward(self, y_hat: Tensor, unit_quality: Tensor) -> Tensor:
        """Synthesise latents ``y_hat`` for ``unit_quality`` (B,) in [0, 1]."""
        x = self.head(y_hat)  # (B, width16, h, w)
        for block in self.blocks16:
            x = block(x, unit_quality)
        x = functional.pixel_shuffle(self.up(x), 2)  # (B, width8, 2h, 2w)
        for block in self.blocks8:
            x = block(x, unit_quality)
        return functional.pixel_shuffle(self.tail(x), 8) + 0.5  # (B, 3, 16h, 16w)


def asinh(x: Tensor) -> Tensor:
    """The inverse hyperbolic sine, made of operations that the ONNX exporter supports."""
    return torch.sign(x) * torch.log(x.abs() + torch.sqrt(x.square() + 1))


class HyperAnalysis(nn.Module):
    """h_a: latents (B, M, h, w) in quantisation steps, h and w multiples of 4, to hyper-latents (B, N, h/4, w/4).

    Latents enter through asinh (linear near zero, logarithmic far from it), with their signs and as magnitudes: the
    hyperprior mostly has to describe their order of magnitude.
    """

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        width = a.hyper_width
        self.stem = nn.Conv2d(2 * a.latents, width, 1)
        self.depthwise16 = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.down32 = nn.Conv2d(4 * width, width, 1)
        self.depthwise32 = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.down64 = nn.Conv2d(4 * width, a.hyper_latents, 1)
        with torch.no_grad():
            self.down64.weight.mul_(HYPER_GAIN)

    def forward(self, y: Tensor) -> Tensor:
        """Analyse latents ``y``; hyper-latents are real numbers, to be rounded."""
        x = asinh(y)
        x = functional.leaky_relu(self.stem(torch.cat([x, x.abs()], dim=1)), LEAKY_SLOPE)
        x = self.down32(functional.pixel_unshuffle(self.depthwise16(x), 2))  # (B, width, h/2, w/2)
        x = functional.leaky_relu(x, LEAKY_SLOPE)
        return self.down64(functional.pixel_unshuffle(self.depthwise32(x), 2))  # (B, N, h/4, w/4)
