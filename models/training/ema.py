"""The exponential moving average (EMA) of the weights in training. Export takes the averaged weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

AverageRule = Callable[[list[Tensor], list[Tensor], Tensor], None]
"""Updates averages in place. Arguments: the averages, the weights, and the number of earlier updates, a scalar."""


def growing_memory(decay: float) -> AverageRule:
    """The update of an EMA whose memory grows with the number of updates n, up to ``1 / (1 - decay)`` steps.

    The decay is ``min(decay, (1 + n) / (10 + n))``. With a constant decay, the average of a short training would still
    hold much of the initial weights when the training ends.
    """

    @torch.no_grad()
    def update(averages: list[Tensor], weights: list[Tensor], updates: Tensor) -> None:
        new_share = 1 - ((1 + updates) / (10 + updates)).clamp(max=decay)  # a number would wait for the device
        change = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(change, new_share)
        torch._foreach_add_(averages, change)

    return update


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of ``model`` whose ``update_parameters`` follows the weights, and copies the buffers."""
    return AveragedModel(model, multi_avg_fn=growing_memory(decay))
