"""The device that a training computes on, and the precision that it computes in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

DEVICES = ("auto", "cpu", "cuda")
"""Values of the option ``--device``; auto is an accelerator if there is one, else the CPU."""


def check_device(device: str) -> None:
    """Raises ValueError when ``device`` is not one of ``DEVICES``, or the machine does not have it."""
    if device not in DEVICES:
        raise ValueError(f"device {device!r} is not one of {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: torch finds no accelerator on this machine")


def accelerator_of(device: str) -> str:
    """The accelerator for Fabric, "cuda" or "cpu", for one of ``DEVICES``. Others, such as MPS, are not tested."""
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def fast_precision(device: str) -> str:
    """The precision for Fabric: bfloat16 on an accelerator and on CPUs with instructions for it, else float32.

    A CPU without such instructions takes six times as long in bfloat16.
    """
    if accelerator_of(device) == "cuda":
        return "bf16-mixed"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    has_bfloat16 = capabilities.get("avx512_bf16") or capabilities.get("bf16")
    return "bf16-mixed" if has_bfloat16 else "32-true"


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Inside, convolutions on an accelerator keep all bits of float32: sums of integers must be exact."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
