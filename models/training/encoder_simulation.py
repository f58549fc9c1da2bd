"""The changes that encoders make to latents at the default effort, simulated in a training step.

Encoders change latents by RDOQ along the gradient of the synthesis (``codec.encoding.rdoq``). They hide signs in the
parities of symbols, and change some symbols by one to do so (``codec.encoding.hide_signs``). Networks that were trained
on such latents decode them better.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from codec.encoding.hide_signs import CURVATURE as HIDING_CURVATURE
from codec.encoding.hide_signs import RATE_WEIGHTS
from codec.encoding.rdoq import (
    AIM_CURVATURE,
    BIN_MARGIN,
    CHANGED_SHARE,
    CURVATURE,
    GRADIENT_SHARE,
    RATE_WEIGHT,
    SINGLE_ITERATION_SCALE,
)
from codec.entropy.constants import SCALE_LEVELS, STEPS
from codec.entropy.hidden_signs import MIN_NONZERO_FREQUENCY
from codec.entropy.range_coder import TOTAL
from codec.geometry import CELL
from codec_models.networks.compression_model import Compressed, CompressionModel, Quantize
from codec_models.networks.entropy import ScaleLikelihood, scatter_step
from codec_models.quantization.scalar import Quantized, ScalarQuantizer

MAX_MAGNITUDE = 255
"""The largest magnitude with a code length of its own. Larger symbols are assumed to cost the same."""
HIDING_TEMPERATURES = (1.1, 0.048, 1.4, 2.15)
"""(t0, rise, least, most) in bits. A change that costs c bits is made with probability 1 / (1 + exp(c / t)), as
measured; t = t0 + rise * scale index, clipped to [least, most]."""
SIGNED_SHARE = 0.77
"""Share of the symbols with hidden signs that are not zero. Measured: 0.72 at low rates, 0.81 at high ones."""
ROUNDING = ScalarQuantizer("ste")
"""Encoders round, also when they are simulated in training."""


class EncoderSimulation(NamedTuple):
    """The constants of the simulated encoder for a batch."""

    is_refined: Tensor  # (B, 1, 1, 1): 1 for pictures that are refined, 0 for the others
    weight: Tensor  # (B, 1, 1, 1): lambda, in bits for each unit of squared error of a colour of a pixel
    bits: Tensor  # (SCALE_LEVELS, MAX_MAGNITUDE + 1): code length of each magnitude
    capacities: Tensor  # (SCALE_LEVELS,): message bits that a symbol carries, see ``codec.entropy.hidden_signs``
    temperatures: Tensor  # (SCALE_LEVELS,): see ``HIDING_TEMPERATURES``

    @classmethod
    def draw(cls, share: float, lambda_: Tensor, likelihood: ScaleLikelihood) -> EncoderSimulation:
        """The simulation for a batch, of which a random ``share`` of the pictures is refined.

        Args:
            lambda_: (B,) bits per pixel for each unit of mean squared error, pixels in [0, 1].
            likelihood: gives the code lengths of symbols.
        """
        is_refined = torch.rand_like(lambda_) < share
        options = {"device": lambda_.device, "dtype": torch.float32}
        magnitudes = torch.arange(MAX_MAGNITUDE + 1, **options).repeat(SCALE_LEVELS, 1)
        indices = torch.arange(SCALE_LEVELS, **options)
        scale_index = indices.unsqueeze(1).expand_as(magnitudes).contiguous()
        with torch.no_grad():
            bits = -torch.log2(likelihood.forward(magnitudes, scale_index))  # too little work to compile for
        nonzero = 1 - torch.exp2(-bits[:, 0])
        # As codec.entropy.hidden_signs.HiddenSigns.capacities, which computes them in integers.
        capacities = torch.where(nonzero < MIN_NONZERO_FREQUENCY / TOTAL, 0, 7 * nonzero / (10 + 12 * nonzero))
        start, rise, least, most = HIDING_TEMPERATURES
        temperatures = (start + rise * indices).clamp(least, most)
        weight = lambda_.reshape(-1, 1, 1, 1) / 3
        return cls(is_refined.float().reshape(-1, 1, 1, 1), weight, bits, capacities, temperatures)

    def bits_of(self, symbols: Tensor, scale_index: Tensor) -> Tensor:
        """Bits of ``symbols`` under scale indices of the same shape, both whole numbers."""
        return self.bits.take(scale_index.long() * (MAX_MAGNITUDE + 1) + symbols.abs().clamp(max=MAX_MAGNITUDE).long())

    def cell_error(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """lambda * squared error of each cell in bits, (B, 1, h, w), for pictures (B, 3, 16h, 16w)."""
        squares = (self.weight * (x_hat - x).square()).sum(1, keepdim=True)
        return CELL**2 * functional.avg_pool2d(squares, CELL)

    def rdoq_change(
        self, y: Tensor, decoded: Tensor, symbols: Tensor, scale_index: Tensor, gradient: Tensor, error: Tensor
    ) -> Tensor:
        """What RDOQ adds to ``y`` (B, M, h, w): ``rdoq_step`` and ``pull_to_gradient`` of ``codec.encoding.rdoq``.

        Args:
            decoded, symbols, scale_index: the result of coding ``y``, each of its shape.
            gradient: of ``error`` with respect to ``decoded``, in bits per quantisation step.
            error: (B, 1, h, w): see ``cell_error``.
        """
        ratio = (gradient.square().sum(1, keepdim=True) / (2 * CURVATURE * error.clamp(min=1))).clamp(min=1)
        curvature = CURVATURE / (2 * SINGLE_ITERATION_SCALE) * ratio
        current, up, down = (RATE_WEIGHT * self.bits_of(symbols + change, scale_index) for change in (0, 1, -1))
        up, down = curvature + gradient + up - current, curvature - gradient + down - current
        is_changed = (torch.minimum(up, down) < 0) & (torch.rand_like(up) < CHANGED_SHARE)
        target = decoded + is_changed * _cheaper_direction(up, down)
        least_error = decoded - (gradient / AIM_CURVATURE).clamp(-1, 1)
        pulled = y + GRADIENT_SHARE * (least_error - y)
        return self.is_refined * (torch.clamp(pulled, target - BIN_MARGIN, target + BIN_MARGIN) - y)

    def hide_signs(self, quantize: Quantize, *, training: bool) -> Quantize:
        """``quantize``, followed by the changes of symbols that hiding signs makes.

        In ``training`` the synthesis alone gets them: the rate is estimated with noise anyway.
        """

        def quantize_and_hide(y: Tensor, mean: Tensor, scale_index: Tensor) -> Quantized:
            quantized = quantize(y, mean, scale_index)
            with torch.no_grad():
                change = self._hiding_change(y - mean, scale_index.round())
            coded = quantized.coded if training else quantized.coded + change
            return quantized._replace(values=quantized.values + change, coded=coded)

        return quantize_and_hide

    def _hiding_change(self, residual: Tensor, scale_index: Tensor) -> Tensor:
        """The changes, -1, 0 or 1, that hiding signs makes to the symbols of ``residual``."""
        symbols = residual.round()
        gradient = HIDING_CURVATURE * (symbols - residual)
        zero, one, larger = RATE_WEIGHTS.tolist()
        weight = torch.where(symbols == 0, zero, torch.where(symbols.abs() == 1, one, larger))
        current, up, down = (weight * self.bits_of(symbols + change, scale_index) for change in (0, 1, -1))
        up, down = (HIDING_CURVATURE / 2 + cost for cost in (gradient + up - current, down - gradient - current))
        index = scale_index.long()
        cost = torch.minimum(up, down).clamp(min=0)
        is_changed = torch.rand_like(cost) < torch.sigmoid(-cost / self.temperatures.take(index))
        is_carrier = self.capacities.take(index) > 0
        return self.is_refined * (is_changed & is_carrier) * _cheaper_direction(up, down)

    def saved_bits(self, scale_index: Tensor) -> Tensor:
        """Bits of the signs that are not sent, for symbols of these scale indices, and their gradient."""
        index = scale_index.detach().round().long()
        saved = SIGNED_SHARE * self.capacities
        slope = functional.pad((saved[2:] - saved[:-2]) / 2, (1, 1))
        return self.is_refined * (saved.take(index) + slope.take(index) * (scale_index - index))


def simulate_encoder(
    model: CompressionModel, simulation: EncoderSimulation, x: Tensor, unit_quality: Tensor, progress: float = 1.0
) -> Compressed:
    """The forward pass of ``model`` with the latents that an encoder would code. Arguments as for the model."""
    y = model.analyse(x, unit_quality)
    features, hyper_bits = model.code_hyper_latents(y, unit_quality)
    y = y.float()
    y = y + _refinement(model, simulation, y, features, x, unit_quality)
    quantize = simulation.hide_signs(partial(model.quantizer, progress=progress), training=model.training)
    latents = model.code_latents(y, features, quantize)
    bits = model.latent_bits(latents) - simulation.saved_bits(latents.scale_index)
    return Compressed(model.synthesise(latents.y_hat, unit_quality), hyper_bits + bits.sum((1, 2, 3)), latents)


def _refinement(
    model: CompressionModel,
    simulation: EncoderSimulation,
    y: Tensor,
    features: Tensor,
    x: Tensor,
    unit_quality: Tensor,
) -> Tensor:
    """The change of ``y`` (B, M, h, w) that RDOQ makes; the training loss takes it as a constant."""
    coded = model.code_latents(y, features, ROUNDING)  # not under no_grad, for which the parts are not compiled
    y, y_hat, symbols, scale_index = (t.detach() for t in (y, coded.y_hat, coded.coded, coded.scale_index))
    with torch.enable_grad():
        y_hat.requires_grad_()
        error = simulation.cell_error(model.synthesise(y_hat, unit_quality).float(), x)
        (gradient,) = torch.autograd.grad(error.sum(), y_hat)
    with torch.no_grad():
        symbols, scale_index = (to_positions(values, y) for values in (symbols, scale_index))
        return simulation.rdoq_change(y, y_hat, symbols, scale_index, gradient, error)


def _cheaper_direction(up: Tensor, down: Tensor) -> Tensor:
    """1 where ``up`` costs less than ``down``, else -1."""
    return torch.where(up < down, 1.0, -1.0)


def to_positions(coded: Tensor, y: Tensor) -> Tensor:
    """Values (B, STEPS * M, h/2, w/2) of all context steps, put at the positions of their latents: (B, M, h, w)."""
    return sum(scatter_step(values, y, step) for step, values in enumerate(coded.chunk(STEPS, dim=1)))
