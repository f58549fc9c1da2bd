"""The optimiser's side of training: which parameters learn how fast, and the average that is kept of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.layers import Float32Conv1x1
from codec_models.training.recipe import Recipe
from codec_models.training.soap import Soap


def parameter_groups(model: CompressionModel) -> list[dict]:
    """The parameters that learn, in three groups with rates of their own (see ``Recipe.learning_rate_at``)."""
    groups: dict[str, list[nn.Parameter]] = {"entropy": [], "transform": [], "rotation": []}
    rotations = {id(p) for m in model.modules() if isinstance(m, Float32Conv1x1) for p in m.parameters()}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_transform = name.startswith(("g_a.", "g_s.", "gain.", "inverse_gain."))
        group = "rotation" if id(parameter) in rotations else "transform" if is_transform else "entropy"
        groups[group].append(parameter)
    return [{"name": name, "params": parameters} for name, parameters in groups.items()]


def make_optimizer(model: CompressionModel, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over the groups of ``parameter_groups``.

    AdamW (Loshchilov and Hutter 2019), or SOAP (Vyas et al. 2024), which takes a third longer for a step
    and gets further with it.
    """
    groups = parameter_groups(model)
    if recipe.optimizer == "soap":
        return Soap(groups, recipe.learning_rate)
    return torch.optim.AdamW(groups, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)


def set_learning_rates(optimizer: torch.optim.Optimizer, recipe: Recipe, progress: float) -> None:
    """Give every group the rate that ``recipe`` has for it at ``progress`` in [0, 1]."""
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate_at(progress, group["name"])


def average_rule(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """An exponential moving average whose memory grows to ``1 / (1 - decay)`` steps."""

    @torch.no_grad()
    def update(averages: list[Tensor], weights: list[Tensor], updates: Tensor) -> None:
        n = float(updates)
        torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + n) / (10 + n)))

    return update


class MovingAverage(AveragedModel):
    """An average of weights whose updates never wait for an accelerator, as those of its base do."""

    @torch.no_grad()
    def update_parameters(self, model: CompressionModel) -> None:
        """Follow the weights of ``model``, and copy its buffers."""
        averages, weights = list(self.module.parameters()), list(model.parameters())
        if self.n_averaged == 0:
            torch._foreach_copy_(averages, weights)
        else:
            self.multi_avg_fn(averages, weights, self.n_averaged)
        torch._foreach_copy_(list(self.module.buffers()), list(model.buffers()))
        self.n_averaged += 1


def make_average(model: CompressionModel, recipe: Recipe) -> MovingAverage:
    """A copy of ``model`` that follows its weights' moving average."""
    return MovingAverage(model, multi_avg_fn=average_rule(recipe.ema_decay))


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Let the CPU take denormal numbers for zero.

    The gradients of likelihoods are full of them, and cost a quarter of a step's time.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
