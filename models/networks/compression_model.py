"""The whole model: transforms, hyperprior, context steps and quantizer, with the rate and distortion of a picture.

::

    x -> g_a -> gain(q) -> y -> quantise y - mean -> y_hat -> inverse gain(q) -> g_s -> x_hat
                           |                  ^
                          h_a -> z -> round -> h_s -> context steps -> mean, scale
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from codec.entropy.constants import HYPER_MAX, MEAN_SHIFT, STEPS
from codec_models.networks.architecture import Architecture
from codec_models.networks.entropy import (
    ContextStep,
    FactorizedPrior,
    HyperSynthesis,
    ScaleLikelihood,
    gather_step,
    quality_level,
    scatter_step,
)
from codec_models.networks.layers import QualityGain
from codec_models.networks.transforms import Analysis, HyperAnalysis, Synthesis
from codec_models.quantization import make_quantizer
from codec_models.quantization.scalar import Quantized
from codec_models.quantization.straight_through import ste_round

Quantize = Callable[[Tensor, Tensor, Tensor], Quantized]
"""Quantises the latents of a context step. Arguments: latents, means and scale indices, all of one shape."""
MIN_MSE = 1e-10
"""Lower bound of mean squared errors (pixels in [0, 1]) in ``psnr``: 100 dB."""


class CodedLatents(NamedTuple):
    """Latents after all context steps."""

    y_hat: Tensor  # (B, M, h, w): decoded latents, in quantisation steps
    coded: Tensor  # (B, STEPS * M, h/2, w/2): residuals, with noise in some training modes; or bits, from vectors
    scale_index: Tensor  # as ``coded``: 0 to SCALE_LEVELS - 1, integers in exact arithmetic
    loss: Tensor  # scalar: the quantizer's own loss (commitment)


class Compressed(NamedTuple):
    """The result of one forward pass."""

    x_hat: Tensor  # (B, 3, H, W): decoded pictures, not clamped to [0, 1]
    bits: Tensor  # (B,): estimated bits of each picture, for latents and hyper-latents
    latents: CodedLatents


class CompressionModel(nn.Module):
    """A variable-rate image compression model.

    It has a hyperprior and context steps (Minnen et al. 2018), and gains that depend on the quality (Cui et al. 2021).
    In every method, ``unit_quality`` is a tensor (B,) in [0, 1], with one quality for each picture.
    """

    def __init__(self, architecture: Architecture, quantization: str = "mixed") -> None:
        super().__init__()
        a = self.architecture = architecture
        self.g_a = Analysis(a)
        self.g_s = Synthesis(a)
        self.h_a = HyperAnalysis(a)
        self.h_s = HyperSynthesis(a)
        self.context_steps = nn.ModuleList(ContextStep(a, step) for step in range(STEPS))
        self.gain = QualityGain(a.latents, a.anchors)
        self.inverse_gain = QualityGain(a.latents, a.anchors)
        self.hyper_prior = FactorizedPrior(a.hyper_latents, init_scale=2)
        self.likelihood = ScaleLikelihood()
        self.quantizer = make_quantizer(quantization)

    def forward(self, x: Tensor, unit_quality: Tensor, progress: float = 1.0) -> Compressed:
        """Compress pictures ``x`` (B, 3, H, W) in [0, 1], H and W multiples of 64.

        ``progress`` in [0, 1] is the fraction of the training that is done; some quantizers depend on it.
        """
        y = self.analyse(x, unit_quality)
        features, hyper_bits = self.code_hyper_latents(y, unit_quality)
        latents = self.code_latents(y, features, partial(self.quantizer, progress=progress))
        bits = hyper_bits + self.latent_bits(latents).sum((1, 2, 3))
        return Compressed(self.synthesise(latents.y_hat, unit_quality), bits, latents)

    def analyse(self, x: Tensor, unit_quality: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] to latents y (B, M, H/16, W/16), in quantisation steps."""
        return self.g_a(x, unit_quality) * self.gain(unit_quality)

    def synthesise(self, y_hat: Tensor, unit_quality: Tensor) -> Tensor:
        """Decoded latents (B, M, h, w), in quantisation steps, to pictures (B, 3, 16h, 16w), not clamped to [0, 1]."""
        return self.g_s(y_hat * self.inverse_gain(unit_quality), unit_quality)

    def code_hyper_latents(self, y: Tensor, unit_quality: Tensor) -> tuple[Tensor, Tensor]:
        """Code the hyper-latents of ``y`` (B, M, h, w).

        Returns the features of h_s (B, STEPS * width, h, w), and the bits (B,) of the hyper-latents.
        """
        z = self.h_a(y)
        with torch.autocast(y.device.type, enabled=False):
            z = z.float()
            _, likelihood = self.hyper_prior(z)
            z_hat = ste_round(z).clamp(-HYPER_MAX, HYPER_MAX)
            return self.h_s(z_hat, quality_level(unit_quality)), -torch.log2(likelihood).sum((1, 2, 3))

    def code_latents(self, y: Tensor, features: Tensor, quantize: Quantize) -> CodedLatents:
        """Quantise latents ``y`` (B, M, h, w), h and w even, context step by context step, in float32.

        ``features`` are those of ``code_hyper_latents``.
        """
        with torch.autocast(y.device.type, enabled=False):
            y = y.float()
            groups = y.chunk(STEPS, dim=1)
            y_hat = torch.zeros_like(y)
            coded, scale_indices, losses = [], [], []
            for context_step, step_features in zip(self.context_steps, features.chunk(STEPS, dim=1), strict=True):
                step = context_step.step
                mean, scale_index = context_step(step_features, y_hat * 2.0**MEAN_SHIFT)
                quantized = quantize(gather_step(groups, step), mean * 2.0**-MEAN_SHIFT, scale_index)
                y_hat = y_hat + scatter_step(quantized.values, y, step)
                coded.append(quantized.coded)
                scale_indices.append(scale_index)
                losses.append(quantized.loss)
            return CodedLatents(y_hat, torch.cat(coded, 1), torch.cat(scale_indices, 1), torch.stack(losses).sum())

    def latent_bits(self, latents: CodedLatents) -> Tensor:
        """Estimated bits of each element of ``latents.coded``, in its shape."""
        if self.quantizer.counts_bits:
            return latents.coded
        with torch.autocast(latents.coded.device.type, enabled=False):
            return -torch.log2(self.likelihood(latents.coded, latents.scale_index))


def rate_distortion(compressed: Compressed, x: Tensor) -> tuple[Tensor, Tensor]:
    """Bits per pixel (B,), and the mean squared error (B,) against pictures ``x`` in [0, 1]."""
    bpp = compressed.bits / (x.shape[2] * x.shape[3])
    mse = functional.mse_loss(compressed.x_hat.float(), x, reduction="none").mean((1, 2, 3))
    return bpp, mse


def psnr(mse: Tensor) -> Tensor:
    """The PSNR in dB, at most 100, for mean squared errors of pixels in [0, 1], of any shape."""
    return -10 * torch.log10(mse.clamp(min=MIN_MSE))
