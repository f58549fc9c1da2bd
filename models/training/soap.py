"""The optimiser SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024).

Written here because it must be cheap beside a step of a quarter of a second on a CPU, or of a fortieth on an
accelerator: matrices of one shape are moved together, curvature is measured every other step, bases follow by
one QR iteration now and then, and a side of a matrix that is longer than ``LONGEST_SIDE`` keeps the plain basis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

MEASURE_EVERY, TURN_EVERY = 2, 20
MEASURE_ALWAYS_BEFORE = 10
ACCELERATED_TURN_EVERY, TURN_OFTEN_BEFORE = 100, 101
"""On an accelerator, where a QR decomposition takes as long as hundreds of products: from the hundredth step on."""
SHORTEST_SIDE, LONGEST_SIDE = 17, 400
"""Matrices with a shorter side (biases, depthwise kernels) and sides longer than this are left to Adam."""

_SIDES = (("rows", 0), ("columns", 1))


class Soap(torch.optim.Optimizer):
    """SOAP for parameters of any shape, seen as matrices (first dimension, all others).

    Those of a group that have one shape share the state that stands at the first of them.

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
            alike: dict[tuple[int, int], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rows = parameter.shape[0] if parameter.dim() else 1
                    alike.setdefault((rows, parameter.numel() // rows), []).append(parameter)
            for (rows, columns), parameters in alike.items():
                self._move(parameters, rows, columns, group)
        return loss

    def _move(self, parameters: list[Tensor], rows: int, columns: int, group: dict) -> None:
        state = self.state[parameters[0]]
        gradient = torch.stack([p.grad.reshape(rows, columns) for p in parameters])  # (n, rows, columns)
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
        updates = [u.reshape(p.shape) for u, p in zip(update, parameters, strict=True)]
        torch._foreach_add_(parameters, updates, alpha=-group["lr"] / (1 - memory**step))


def _start(state: dict, gradient: Tensor) -> None:
    state["step"] = 0
    state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    count, *sides = gradient.shape
    if min(sides) < SHORTEST_SIDE:
        return
    for side, dim in _SIDES:
        if (n := sides[dim]) <= LONGEST_SIDE:
            state[f"{side}_curvature"] = gradient.new_zeros(count, n, n)
            state[f"{side}_basis"] = torch.eye(n, dtype=gradient.dtype, device=gradient.device).repeat(count, 1, 1)


def _is_time_to_turn(step: int, device: torch.device) -> bool:
    often = device.type == "cpu" or step < TURN_OFTEN_BEFORE
    return step == 1 or step % (TURN_EVERY if often else ACCELERATED_TURN_EVERY) == 0


def _measure(state: dict, gradient: Tensor, step: int, memory: float) -> None:
    """Follow the second moments of ``gradient``'s rows and columns, and now and then turn the bases to them."""
    turn = _is_time_to_turn(step, gradient.device)
    mean = _turned_back(state, state["mean"]) if turn else None
    for side, dim in _SIDES:
        curvature = state.get(f"{side}_curvature")
        if curvature is None:
            continue
        if step < MEASURE_ALWAYS_BEFORE or step % MEASURE_EVERY == 0:
            keep = memory**MEASURE_EVERY if step > 1 else 0.0
            factor = gradient if dim == 0 else gradient.mT
            curvature.baddbmm_(factor, factor.mT, beta=keep, alpha=1 - keep)
        if step == 1:
            # Of one gradient: its rank is low, and in float32 the many equal eigenvalues may not be found.
            basis = torch.linalg.eigh(curvature.double())[1].flip(2)
            state[f"{side}_basis"] = basis.to(curvature.dtype).contiguous()
        elif turn:
            basis = state[f"{side}_basis"]
            power = curvature @ basis
            order = (basis * power).sum(1, keepdim=True).argsort(descending=True)  # (n, 1, side)
            across = order if dim else order.mT
            state["square"] = state["square"].gather(dim + 1, across.expand_as(state["square"]))
            state[f"{side}_basis"] = torch.linalg.qr(power.gather(2, order.expand_as(power)))[0]
    if mean is not None:
        state["mean"] = _turned(state, mean)


def _turned(state: dict, x: Tensor) -> Tensor:
    if "rows_basis" in state:
        x = state["rows_basis"].mT @ x
    return x @ state["columns_basis"] if "columns_basis" in state else x


def _turned_back(state: dict, x: Tensor) -> Tensor:
    if "rows_basis" in state:
        x = state["rows_basis"] @ x
    return x @ state["columns_basis"].mT if "columns_basis" in state else x
