"""The optimiser SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024).

A training step takes a quarter of a second on a CPU, and a fortieth on an accelerator. To take little of that, this
implementation

- updates matrices of one shape together,
- measures the curvature at every other step,
- updates a basis rarely, by one QR iteration,
- has no basis for a side of a matrix that is longer than ``LONGEST_SIDE``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

MEASURE_EVERY = 2
"""Steps between two measurements of the curvature."""
MEASURE_ALWAYS_BEFORE = 10
"""Before this step, the curvature is measured at each step."""
BASIS_EVERY = 20
"""Steps between two updates of the bases."""
ACCELERATED_BASIS_EVERY, ACCELERATED_FROM = 100, 101
"""Steps between two updates of the bases on an accelerator, and the first step for which this holds. A QR decomposition
takes as long there as hundreds of matrix products."""
SHORTEST_SIDE, LONGEST_SIDE = 17, 400
"""In rows or columns. A matrix with a side below ``SHORTEST_SIDE`` (biases, depthwise kernels) is updated by plain
Adam. A side above ``LONGEST_SIDE`` gets no basis, because its QR decomposition takes too long."""

_SIDES = (("rows", 0), ("columns", 1))
"""For each side of a matrix, its name in the state and its dimension."""


class Soap(torch.optim.Optimizer):
    """SOAP for parameters of any shape, seen as matrices (first dimension, all others).

    Parameters of a group that have the same matrix shape share one state, which is stored for the first of them.

    Args:
        params: parameters, or groups of parameters.
        lr: learning rate, as Adam's.
        betas: decay per step of the mean of the gradient, and of the mean of its square and the curvature.
        eps: added to the denominator.
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
        """Update each parameter that has a gradient. The first step only measures the curvature."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rows = parameter.shape[0] if parameter.dim() else 1
                    by_shape.setdefault((rows, parameter.numel() // rows), []).append(parameter)
            for (rows, columns), parameters in by_shape.items():
                self._update(parameters, rows, columns, group)
        return loss

    def _update(self, parameters: list[Tensor], rows: int, columns: int, group: dict) -> None:
        state = self.state[parameters[0]]
        gradient = torch.stack([p.grad.reshape(rows, columns) for p in parameters])  # (n, rows, columns)
        if not state:
            _initialise(state, gradient)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        step = state["step"]
        _update_curvature(state, gradient, step, beta2)
        gradient = _to_basis(state, gradient)
        state["mean"].lerp_(gradient, 1 - beta1)
        state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        if step == 1:
            return
        deviation = state["square"].div(1 - beta2**step).sqrt_().add_(group["eps"])
        update = _from_basis(state, state["mean"] / deviation)
        updates = [u.reshape(p.shape) for u, p in zip(update, parameters, strict=True)]
        torch._foreach_add_(parameters, updates, alpha=-group["lr"] / (1 - beta1**step))


def _initialise(state: dict, gradient: Tensor) -> None:
    state["step"] = 0
    state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    count, *sides = gradient.shape
    if min(sides) < SHORTEST_SIDE:
        return
    for side, dim in _SIDES:
        if (n := sides[dim]) <= LONGEST_SIDE:
            state[f"{side}_curvature"] = gradient.new_zeros(count, n, n)
            state[f"{side}_basis"] = torch.eye(n, dtype=gradient.dtype, device=gradient.device).repeat(count, 1, 1)


def _is_basis_step(step: int, device: torch.device) -> bool:
    is_frequent = device.type == "cpu" or step < ACCELERATED_FROM
    return step == 1 or step % (BASIS_EVERY if is_frequent else ACCELERATED_BASIS_EVERY) == 0


def _update_curvature(state: dict, gradient: Tensor, step: int, beta2: float) -> None:
    """Update the second moments of the rows and columns of ``gradient``, and in some steps the bases."""
    is_basis_step = _is_basis_step(step, gradient.device)
    mean = _from_basis(state, state["mean"]) if is_basis_step else None
    for side, dim in _SIDES:
        curvature = state.get(f"{side}_curvature")
        if curvature is None:
            continue
        if step < MEASURE_ALWAYS_BEFORE or step % MEASURE_EVERY == 0:
            decay = beta2**MEASURE_EVERY if step > 1 else 0.0
            factor = gradient if dim == 0 else gradient.mT
            curvature.baddbmm_(factor, factor.mT, beta=decay, alpha=1 - decay)
        if step == 1:
            # The second moment of one gradient has a low rank. In float32, eigh may not converge for so many equal
            # eigenvalues.
            basis = torch.linalg.eigh(curvature.double())[1].flip(2)
            state[f"{side}_basis"] = basis.to(curvature.dtype).contiguous()
        elif is_basis_step:
            basis = state[f"{side}_basis"]
            power = curvature @ basis
            order = (basis * power).sum(1, keepdim=True).argsort(descending=True)  # (n, 1, side)
            square_order = order if dim else order.mT
            state["square"] = state["square"].gather(dim + 1, square_order.expand_as(state["square"]))
            state[f"{side}_basis"] = torch.linalg.qr(power.gather(2, order.expand_as(power)))[0]
    if mean is not None:
        state["mean"] = _to_basis(state, mean)


def _to_basis(state: dict, x: Tensor) -> Tensor:
    if "rows_basis" in state:
        x = state["rows_basis"].mT @ x
    return x @ state["columns_basis"] if "columns_basis" in state else x


def _from_basis(state: dict, x: Tensor) -> Tensor:
    if "rows_basis" in state:
        x = state["rows_basis"] @ x
    return x @ state["columns_basis"].mT if "columns_basis" in state else x
