"""Encode time buys bits: latents of one picture, refined by gradient descent through the fixed decoder.

The analysis transform gives each picture the latents that were best on average. Here rate and distortion of
the one picture are minimised, with rounding that anneals from random to hard (stochastic Gumbel annealing;
Yang, Bamler, Mandt 2020). The file format and the decoder do not change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from codec.format import MAX_QUALITY
from codec.model_file import Model
from codec.tables import HYPER_MAX, MEAN_SHIFT, STEPS, quality_level
from models.entropy import ScaleLikelihood, step_masks
from models.graph import TorchGraph
from models.optimize import flushed_denormals
from models.recipe import recipe_from_dict
from models.symbol_tables import mixture_of_tables

LEARNING_RATE = 0.02
"""In quantisation steps; it falls to zero."""
GENTLE_BELOW = 1.0
"""Gradients (bits a quantisation step) below this move latents in proportion: Adam would move all of them alike."""
FIRST_TEMPERATURE, LAST_TEMPERATURE = 0.5, 0.1
EFFORTS = {effort: 25 * 2 ** (effort - 2) for effort in range(2, 10)}
"""Iterations for each effort above 1: every step takes twice as long."""
_EDGE = 1e-4
Rounding = Callable[[Tensor], Tensor]


def annealed_round(x: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """A draw between the integers beside each element: the nearer the likelier, surer as it gets cold."""
    below = torch.floor(x).detach()
    share = (x - below).clamp(_EDGE, 1 - _EDGE)
    logits = (torch.atanh(share) - torch.atanh(1 - share)) / temperature  # of the integer above, less below
    uniform = torch.rand(x.shape, generator=generator).clamp(1e-7, 1 - 1e-7)
    noise = torch.log(uniform) - torch.log1p(-uniform)  # the difference of two Gumbel variables
    return below + torch.sigmoid((logits + noise) / temperature)


class Refiner:
    """Refines latents for one model, in ``iterations`` steps of the optimiser (see ``EFFORTS``).

    To be given to ``Codec.encode``. One block is refined at a time, on all of torch's threads.

    Raises:
        ValueError: when the model's graphs hold operations that cannot be differentiated, or its metadata
            does not say how it was trained.
    """

    def __init__(self, model: Model, iterations: int) -> None:
        if not isinstance(model.metadata.get("recipe"), dict):
            raise ValueError("the model does not say how it was trained: its latents cannot be refined")
        if model.codebook is not None:
            raise ValueError("the latents of vector-quantised models cannot be refined")
        self.recipe = recipe_from_dict(model.metadata["recipe"])
        self.iterations = iterations
        self._graphs = {name: TorchGraph(data) for name, data in model.graphs.items() if name != "analysis"}
        self._likelihood = ScaleLikelihood()
        self._likelihood.mixture = mixture_of_tables(model.scale_tables)
        self._hyper_bits = _bits_of_hyper_latents(model)
        self._one_at_a_time = threading.Lock()

    def __call__(self, pixels: np.ndarray, y: np.ndarray, quality: int, tiles: list[tuple[slice, slice]]) -> np.ndarray:
        """Latents (M, h, w) float that code the block at less rate and distortion than ``y`` does, or ``y``.

        Args:
            pixels: the block's, uint8 (3, H, W); what lies beyond them, up to (16h, 16w), does not count.
            y: (M, h, w) float, in quantisation steps.
            quality: in hundredths.
            tiles: rows and columns of ``y`` that are coded, each tile on its own.
        """
        with self._one_at_a_time, flushed_denormals():
            x = torch.from_numpy(np.ascontiguousarray(pixels)).unsqueeze(0).float() / 255
            start = torch.from_numpy(np.ascontiguousarray(y, np.float32)).unsqueeze(0)
            refined = self._descend(x, start, quality, tiles)
            with torch.no_grad():
                costs = [float(self._cost(x, each, quality, tiles, torch.round)) for each in (start, refined)]
            return (refined if costs[1] < costs[0] else start).squeeze(0).numpy()

    def _descend(self, x: Tensor, start: Tensor, quality: int, tiles: list[tuple[slice, slice]]) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        y = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([y], LEARNING_RATE, eps=GENTLE_BELOW)
        for iteration in range(self.iterations):
            done = iteration / self.iterations
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - done)
            temperature = FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** done
            rounding = partial(annealed_round, temperature=temperature, generator=generator)
            cost = self._cost(x, y, quality, tiles, rounding)
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
        return y.detach()

    def _cost(self, x: Tensor, y: Tensor, quality: int, tiles: list[tuple[slice, slice]], rounding: Rounding) -> Tensor:
        """Bits of the tiles, and lambda times the squared error of what is decoded from them."""
        decoded, bits = torch.zeros_like(y), torch.zeros(())
        for rows, columns in tiles:
            decoded[:, :, rows, columns], tile_bits = self._code(y[:, :, rows, columns], quality, rounding)
            bits = bits + tile_bits
        share = torch.tensor([quality / MAX_QUALITY])
        x_hat = self._graphs["synthesis"](y_hat=decoded, quality=share)[0]
        error = (x_hat[:, :, : x.shape[2], : x.shape[3]] - x).square().sum() / 3
        return bits + self.recipe.distortion_weight(quality / MAX_QUALITY) * 255**2 * error

    def _code(self, y: Tensor, quality: int, rounding: Rounding) -> tuple[Tensor, Tensor]:
        """A tile's decoded latents and the bits of all its symbols, as ``codec.latents`` codes them.

        What the hyper-latents and the context steps predict is taken as it is, without a gradient: through
        rounded integers that gradient is mostly noise, and refinement gains more without it.
        """
        features, bits = self._code_hyper_latents(y.detach(), quality)
        decoded = torch.zeros_like(y)
        for step, mask in enumerate(step_masks(*y.shape[1:], y.device)):
            mean, scale_index = self._predict(step, features.chunk(STEPS, dim=1)[step], decoded.detach())
            residual = rounding(y - mean)
            decoded = decoded + mask * (mean + residual)
            bits = bits - (mask * torch.log2(self._likelihood(residual, scale_index))).sum()
        return decoded, bits

    @torch.no_grad()
    def _code_hyper_latents(self, y: Tensor, quality: int) -> tuple[Tensor, Tensor]:
        height, width = y.shape[2:]
        padded = functional.pad(y, (0, -width % 4, 0, -height % 4), mode="replicate")
        z = torch.round(self._graphs["hyper_analysis"](y=padded)[0]).clamp(-HYPER_MAX, HYPER_MAX)
        by_channel = z.transpose(0, 1).flatten(1).long()  # (N, h * w)
        bits = self._hyper_bits.gather(1, by_channel + HYPER_MAX).sum()
        level = torch.full((1, 1, 1, 1), float(quality_level(quality)))
        features = self._graphs["hyper_synthesis"](z_hat=z, quality_level=level)[0]
        return features[:, :, :height, :width], bits

    @torch.no_grad()
    def _predict(self, step: int, features: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
        inputs = {"decoded": decoded * 2.0**MEAN_SHIFT} if step else {}
        mean, scale_index = self._graphs[f"context{step}"](features=features, **inputs)
        return mean * 2.0**-MEAN_SHIFT, scale_index


def _bits_of_hyper_latents(model: Model) -> Tensor:
    """Bits (N, 2 * HYPER_MAX + 1) of every value of each channel."""
    bits = torch.full((len(model.hyper_tables), 2 * HYPER_MAX + 1), 32.0)  # an escape's, about
    for row, table in zip(bits, model.hyper_tables, strict=True):
        radius = min(table.radius, HYPER_MAX)
        centre = table.frequencies[table.radius - radius : table.radius + radius + 1]
        row[HYPER_MAX - radius : HYPER_MAX + radius + 1] = 16 - torch.from_numpy(np.log2(centre)).float()
    return bits
