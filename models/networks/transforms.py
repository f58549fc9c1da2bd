"""The analysis transform g_a, the synthesis transform g_s, and the hyper-analysis h_a."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from codec_models.networks.architecture import Architecture
from codec_models.networks.layers import Block, Float32Conv1x1


class Analysis(nn.Module):
    """g_a: pictures (B, 3, H, W) in [0, 1], H and W multiples of 16, to latents (B, M, H/16, W/16)."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.stem = Float32Conv1x1(3 * 8 * 8, a.width8)
        self.blocks8 = nn.ModuleList(Block(a.width8, a.anchors) for _ in range(a.analysis_blocks8))
        self.down = Float32Conv1x1(4 * a.width8, a.width16)
        self.blocks16 = nn.ModuleList(Block(a.width16, a.anchors) for _ in range(a.analysis_blocks16))
        self.head = Float32Conv1x1(a.width16, a.latents)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """Analyse ``x`` for ``quality`` (B,) in [0, 1]."""
        x = self.stem(functional.pixel_unshuffle(x - 0.5, 8))  # (B, width8, H/8, W/8)
        for block in self.blocks8:
            x = block(x, quality)
        x = self.down(functional.pixel_unshuffle(x, 2))  # (B, width16, H/16, W/16)
        for block in self.blocks16:
            x = block(x, quality)
        return self.head(x)  # (B, M, H/16, W/16)


class Synthesis(nn.Module):
    """g_s: latents (B, M, h, w) to pictures (B, 3, 16h, 16w), around [0, 1] but not clamped to it."""

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

    def forward(self, y_hat: Tensor, quality: Tensor) -> Tensor:
        """Synthesise ``y_hat`` for ``quality`` (B,) in [0, 1]."""
        x = self.head(y_hat)  # (B, width16, h, w)
        for block in self.blocks16:
            x = block(x, quality)
        x = functional.pixel_shuffle(self.up(x), 2)  # (B, width8, 2h, 2w)
        for block in self.blocks8:
            x = block(x, quality)
        return functional.pixel_shuffle(self.tail(x), 8) + 0.5  # (B, 3, 16h, 16w)


def asinh(x: Tensor) -> Tensor:
    """The inverse hyperbolic sine, in operations that the ONNX exporter knows."""
    return torch.sign(x) * torch.log(x.abs() + torch.sqrt(x.square() + 1))


class HyperAnalysis(nn.Module):
    """h_a: scaled latents (B, M, h, w), h and w multiples of 4, to hyper-latents (B, N, h/4, w/4).

    Latents enter through asinh (linear near zero, logarithmic far out), with and without their signs:
    what the hyperprior has to tell is mostly their order of magnitude.
    """

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        width = a.hyper_width
        self.stem = nn.Conv2d(2 * a.latents, width, 1)
        self.depthwise16 = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.down32 = nn.Conv2d(4 * width, width, 1)
        self.depthwise32 = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.down64 = nn.Conv2d(4 * width, a.hyper_latents, 1)
        with torch.no_grad():  # hyper-latents that all round to zero would have nothing to tell
            self.down64.weight.mul_(8)

    def forward(self, y: Tensor) -> Tensor:
        """Analyse ``y`` in units of quantisation steps."""
        x = asinh(y)
        x = functional.leaky_relu(self.stem(torch.cat([x, x.abs()], dim=1)), 0.1)
        x = self.down32(functional.pixel_unshuffle(self.depthwise16(x), 2))  # (B, width, h/2, w/2)
        x = functional.leaky_relu(x, 0.1)
        return self.down64(functional.pixel_unshuffle(self.depthwise32(x), 2))  # (B, N, h/4, w/4)
