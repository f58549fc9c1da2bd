"""The optimiser SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024).

Written here because it must be cheap on a CPU, beside a step of a quarter of a second: curvature is
measured every other step, bases follow by one QR iteration every twentieth, and a side of a matrix that
is longer than ``LONGEST_SIDE`` keeps the plain basis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

MEASURE_EVERY, TURN_EVERY = 2, 20
MEASURE_ALWAYS_BEFORE = 10
SHORTEST_SIDE, LONGEST_SIDE = 17, 400
"""Matrices with a shorter side (biases, depthwise kernels) and sides longer than this are left to Adam."""

_SIDES = (("rows", 0), ("columns", 1))


class Soap(torch.optim.Optimizer):
    """SOAP for parameters of any shape, seen as matrices (first dimension, all others).

    Args:
        params: parameters or groups of them.
        lr: the length of a step, as Adam's.
        betas: memories of the gradient's mean, and of its square and the curvature.
        eps: keeps the denominator from zero.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient; the first step only measures."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Tensor, group: dict) -> None:
        state = self.state[parameter]
        gradient = parameter.grad.reshape(parameter.shape[0], -1)
        if not state:
            _start(state, gradient)
        memory, square_memory = group["betas"]
        state["step"] += 1
        step = state["step"]
        _measure(state, gradient, step, square_memory)
        gradient = _turned(state, gradient)
        state["mean"].lerp_(gradient, 1 - memory)
        state["square"].mul_(square_memory).addcmul_(gradient, gradient, value=1 - square_memory)
        if step == 1:
            return
        deviation = state["square"].div(1 - square_memory**step).sqrt_().add_(group["eps"])
        update = _turned_back(state, state["mean"] / deviation)
        parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"] / (1 - memory**step))


def _start(state: dict, gradient: Tensor) -> None:
    state["step"] = 0
    state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    if min(gradient.shape) < SHORTEST_SIDE:
        return
    for side, dim in _SIDES:
        if gradient.shape[dim] <= LONGEST_SIDE:
            state[f"{side}_curvature"] = gradient.new_zeros(gradient.shape[dim], gradient.shape[dim])
            state[f"{side}_basis"] = torch.eye(gradient.shape[dim], dtype=gradient.dtype, device=gradient.device)


def _measure(state: dict, gradient: Tensor, step: int, memory: float) -> None:
    """Follow the second moments of ``gradient``'s rows and columns, and now and then turn the bases to them."""
    turn = step == 1 or step % TURN_EVERY == 0
    mean = _turned_back(state, state["mean"]) if turn else None
    for side, dim in _SIDES:
        curvature = state.get(f"{side}_curvature")
        if curvature is None:
            continue
        if step < MEASURE_ALWAYS_BEFORE or step % MEASURE_EVERY == 0:
            keep = memory**MEASURE_EVERY if step > 1 else 0.0
            factor = gradient if dim == 0 else gradient.T
            curvature.mul_(keep).addmm_(factor, factor.T, alpha=1 - keep)
        if step == 1:
            state[f"{side}_basis"] = torch.linalg.eigh(curvature)[1].flip(1).contiguous()
        elif turn:
            basis = state[f"{side}_basis"]
            power = curvature @ basis
            order = (basis * power).sum(0).argsort(descending=True)
            state["square"] = state["square"].index_select(dim, order)
            state[f"{side}_basis"] = torch.linalg.qr(power[:, order])[0]
    if mean is not None:
        state["mean"] = _turned(state, mean)


def _turned(state: dict, x: Tensor) -> Tensor:
    if "rows_basis" in state:
        x = state["rows_basis"].T @ x
    return x @ state["columns_basis"] if "columns_basis" in state else x


def _turned_back(state: dict, x: Tensor) -> Tensor:
    if "rows_basis" in state:
        x = state["rows_basis"] @ x
    return x @ state["columns_basis"].T if "columns_basis" in state else x
