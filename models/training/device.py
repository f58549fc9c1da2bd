"""The device that a training computes on, and the precision that it computes in."""

from __future__ import annotations

import torch

DEVICES = ("auto", "cpu", "cuda")
"""Values of the option ``--device``; auto is an accelerator if there is one, else the CPU."""


def check_device(device: str) -> None:
    """Raises ValueError when ``device`` is not one of ``DEVICES``, or the machine does not have it."""
    if device not in DEVICES:
        raise ValueError(f"device {device!r} is not one of {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: torch finds no accelerator on this machine")


def fast_precision(device: str) -> str:
    """The precision for Fabric: bfloat16 on an accelerator and on CPUs with instructions for it, else float32.

    A CPU without such instructions takes six times as long in bfloat16.
    """
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return "bf16-mixed"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    has_bfloat16 = capabilities.get("avx512_bf16") or capabilities.get("bf16")
    return "bf16-mixed" if has_bfloat16 else "32-true"
