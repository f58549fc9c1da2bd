"""A context step as it is exported: its heads look only at what the step decodes, a quarter of all positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from codec.entropy.constants import STEPS, step_phases
from codec_models.networks.entropy import ContextStep, bounded


class PackedStep(nn.Module):
    """A context step whose layers are already rounded.

    It decodes one position of each 2x2 cell, another one for each group of channels. Gives means and scale indices
    (B, M, ceil(h/2), ceil(w/2)): those of the cells' latents. Where h or w is odd, the last cells lack some, and
    what is given for these means nothing.
    """

    def __init__(self, network: ContextStep) -> None:
        super().__init__()
        self.step = network
        phases = step_phases(network.step)
        itself = torch.zeros(network.mix3.convolution.weight.shape)
        itself[:, :, 1, 1] = 1
        self.register_buffer("itself", torch.stack([_moved(itself, phase) for phase in phases]))
        if network.step:
            parts = network.neighbours.convolution.weight.detach().chunk(STEPS)
            self.register_buffer("neighbours", torch.cat([_moved(*both) for both in zip(parts, phases, strict=True)]))

    def forward(self, features: Tensor, decoded: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As ``ContextStep``."""
        x = self.step.trunk(features, decoded)
        x = torch.cat([_of_each_cell(x, kernels) for kernels in self.itself], dim=1)
        mean, scale_index = self.step.mean(x), self.step.scale(x)
        if self.step.step:
            units, bias = self.step.neighbour_units(decoded), self.step.neighbours.convolution.bias
            mean = mean + torch.floor(_of_each_cell(units, self.neighbours, bias))
        return bounded(mean, scale_index)


def _of_each_cell(x: Tensor, kernels: Tensor, bias: Tensor | None = None) -> Tensor:
    """A depthwise convolution at every second row and column. Strided slices take several times as long."""
    return functional.conv2d(x, kernels, bias, stride=2, padding=2, groups=x.shape[1])


def _moved(kernels: Tensor, phase: tuple[int, int]) -> Tensor:
    """Kernels (C, 1, 3, 3), moved to where 5x5 kernels around a cell's first latent have the one at ``phase``."""
    row, column = phase
    return functional.pad(kernels, (1 + column, 1 - column, 1 + row, 1 - row))


def neighbours_of(moved: Tensor, step: int) -> Tensor:
    """The kernels (M, 1, 3, 3) that step number ``step`` holds as ``neighbours`` (M, 1, 5, 5)."""
    parts = zip(moved.chunk(STEPS), step_phases(step), strict=True)
    return torch.cat([part[:, :, 1 + row : 4 + row, 1 + column : 4 + column] for part, (row, column) in parts])
