"""A training step's gradients as one CUDA graph: recorded once for a shape of batch, replayed for each.

A forward and backward pass launches thousands of kernels of microseconds, which takes an accelerator less time
than the interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from codec_models.networks.entropy import ContextStep, ScaleLikelihood
from codec_models.networks.layers import Block

WARM_UP = 3
"""Passes before the recording: libraries choose their kernels and take their memory in the first."""


def compile_parts(model: nn.Module) -> None:
    """Fuse the small operations of which blocks, context steps and likelihoods are made; takes 40 s, saves a third."""
    torch._dynamo.config.recompile_limit = 64  # one program for each of their shapes
    torch._dynamo.config.suppress_errors = True  # without a compiler on the machine they run as they are
    for part in model.modules():
        if isinstance(part, (Block, ContextStep, ScaleLikelihood)):
            part.compile(dynamic=False)


class CapturedGradients:
    """Calls ``gradients(x, quality)``, which leaves gradients in ``parameters``, from its recording.

    ``gradients`` may not depend on anything but its arguments and the parameters' values, nor wait for the device.
    """

    def __init__(
        self,
        gradients: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        quality: Tensor,
        parameters: Iterable[nn.Parameter],
    ) -> None:
        self.x, self.quality = x.clone(), quality.clone()
        self.graph = torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                gradients(self.x, self.quality)
        torch.cuda.current_stream().wait_stream(aside)
        for parameter in parameters:
            parameter.grad = None  # the recording's own, which its replays write, take their place
        with torch.cuda.graph(self.graph):
            self.result = gradients(self.x, self.quality)

    def __call__(self, x: Tensor, quality: Tensor) -> Tensor:
        """What ``gradients`` returns, until the next call."""
        self.x.copy_(x)
        self.quality.copy_(quality)
        self.graph.replay()
        return self.result
