"""The whole model, as the figure draws it.

x -> g_a -> y -> gain(q) -> y' -> quantise around mean -> y_hat -> inverse gain(q) -> g_s -> x_hat
                            |                    ^
                           h_a -> z -> round -> h_s -> context steps -> mean, scale
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
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
from codec_models.quantization.scalar import Quantized, ScalarQuantizer
from codec_models.quantization.straight_through import ste_round
from codec_models.training.encoder_simulation import EncoderSimulation, in_place
from torch import Tensor, nn
from torch.nn import functional

from codec.entropy.constants import HYPER_MAX, MEAN_SHIFT, STEPS

ROUNDING = ScalarQuantizer("ste")
"""What coding does, in training as well."""


class Compressed(NamedTuple):
    """What one pass through the model gives."""

    x_hat: Tensor  # (B, 3, H, W), around [0, 1]
    bits: Tensor  # (B,): estimated bits of each picture, latents and hyper-latents
    y_hat: Tensor  # (B, M, H/16, W/16), in quantisation steps
    coded: Tensor  # (B, STEPS * M, h/2, w/2): residuals, with noise in training, else rounded; or the bits of vectors
    scale_index: Tensor  # as coded: 0 to SCALE_LEVELS - 1, whole numbers in exact arithmetic
    loss: Tensor  # scalar: what the quantizer adds (commitment)


class CompressionModel(nn.Module):
    """A variable-rate image compression model (Minnen et al. 2018 in outline; Cui et al. 2021 for the gains)."""

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

    def forward(
        self, x: Tensor, quality: Tensor, progress: float = 1.0, simulation: EncoderSimulation | None = None
    ) -> Compressed:
        """Compress ``x`` (B, 3, H, W) in [0, 1], H and W multiples of 64, at ``quality`` (B,) in [0, 1].

        ``progress`` in [0, 1] is how far training has come; ``simulation`` says how latents are refined, if they are.
        """
        y = self.g_a(x, quality) * self.gain(quality)
        z = self.h_a(y)
        with torch.autocast(x.device.type, enabled=False):
            y, z = y.float(), z.float()
            features, hyper_bits = self.code_hyper_latents(z, quality)
        quantize = partial(self.quantizer, progress=progress)
        if simulation is not None:
            y = y + self.moves(y, features, x, quality, simulation)
            quantize = simulation.hiding(quantize, training=self.training)
        with torch.autocast(x.device.type, enabled=False):
            y_hat, coded, scale_index, loss = self.code_latents(y, features, quantize)
            is_bits = self.quantizer.counts_bits
            bits = coded if is_bits else -torch.log2(self.likelihood(coded, scale_index))
            if simulation is not None:
                bits = bits - simulation.saved(scale_index)
            bits = hyper_bits + bits.sum((1, 2, 3))
        x_hat = self.g_s(y_hat * self.inverse_gain(quality), quality)
        return Compressed(x_hat, bits, y_hat, coded, scale_index, loss)

    def code_hyper_latents(self, z: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Round ``z``; give the features of h_s and the bits (B,)."""
        _, likelihood = self.hyper_prior(z)
        z_hat = ste_round(z).clamp(-HYPER_MAX, HYPER_MAX)
        return self.h_s(z_hat, quality_level(quality)), -torch.log2(likelihood).sum((1, 2, 3))

    def moves(self, y: Tensor, features: Tensor, x: Tensor, quality: Tensor, simulation: EncoderSimulation) -> Tensor:
        """What ``simulation`` adds to ``y``, by the slopes of what coding it gives."""
        with torch.autocast(x.device.type, enabled=False):  # with gradients that nobody asks for: as compiled
            coded = self.code_latents(y, features, ROUNDING)
        y, y_hat, symbols, scale_index = (t.detach() for t in (y, *coded[:3]))
        with torch.enable_grad():
            y_hat.requires_grad_()
            x_hat = self.g_s(y_hat * self.inverse_gain(quality), quality)
            error = simulation.error(x_hat.float(), x)
            (slope,) = torch.autograd.grad(error.sum(), y_hat)
        with torch.no_grad():
            return simulation.moves(y, y_hat, in_place(symbols, y), in_place(scale_index, y), slope, error)

    def code_latents(
        self, y: Tensor, features: Tensor, quantize: Callable[[Tensor, Tensor, Tensor], Quantized]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Quantise ``y`` step by step; give ``y_hat``, what is coded, scale indices, and the quantizer's loss."""
        y_hat = torch.zeros_like(y)
        coded, scale_index, losses = [], [], []
        for step, (network, part) in enumerate(zip(self.context_steps, features.chunk(STEPS, dim=1), strict=True)):
            mean, step_scale = network(part, y_hat * 2.0**MEAN_SHIFT)
            wanted = gather_step(y.chunk(STEPS, dim=1), step)
            quantized = quantize(wanted, mean * 2.0**-MEAN_SHIFT, step_scale)
            y_hat = y_hat + scatter_step(quantized.values, y, step)
            coded.append(quantized.coded)
            scale_index.append(step_scale)
            losses.append(quantized.loss)
        return y_hat, torch.cat(coded, dim=1), torch.cat(scale_index, dim=1), torch.stack(losses).sum()

    def rate_distortion(
        self, x: Tensor, quality: Tensor, progress: float = 1.0, simulation: EncoderSimulation | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Bits per pixel (B,), mean squared error (B,) in units of a full range of 1, and the quantizer's loss."""
        out = self(x, quality, progress, simulation)
        bpp = out.bits / (x.shape[2] * x.shape[3])
        mse = functional.mse_loss(out.x_hat.float(), x, reduction="none").mean((1, 2, 3))
        return bpp, mse, out.loss
