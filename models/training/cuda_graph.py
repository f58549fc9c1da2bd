"""The gradients of a training step as one CUDA graph, recorded once for each shape of batch.

A forward and backward pass launches thousands of kernels that take microseconds each. Launching them from Python takes
longer than running them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from codec_models.networks.entropy import ContextStep, ScaleLikelihood
from codec_models.networks.layers import Block

WARM_UP_PASSES = 3
"""Passes before the recording, in which libraries choose their kernels and allocate their memory."""
RECOMPILE_LIMIT = 64
"""Programs that torch.compile may keep for one function: it needs one for each shape of its input."""


def compile_parts(model: nn.Module) -> None:
    """Compile residual blocks, context steps and likelihoods, whose small operations are fused.

    Compiling takes 40 to 110 s on an accelerator, once for each size of crops, and saves a quarter to a third of each
    step.
    """
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
    torch._dynamo.config.suppress_errors = True  # on a machine without a C compiler they run uncompiled
    for part in model.modules():
        if isinstance(part, (Block, ContextStep, ScaleLikelihood)):
            part.compile(dynamic=False)


class CapturedGradients:
    """Replays ``gradients(x, unit_quality)``, which writes the gradients of ``parameters``, from a recorded graph.

    Args:
        gradients: depends on nothing but its arguments and the values of the parameters, and never waits for the
            device.
        x: a batch (B, 3, S, S) of the shape that all later ones have.
        unit_quality: the qualities (B,) of ``x``, in [0, 1].
        parameters: of the model.
    """

    def __init__(
        self,
        gradients: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        unit_quality: Tensor,
        parameters: Iterable[nn.Parameter],
    ) -> None:
        self.x, self.unit_quality = x.clone(), unit_quality.clone()
        self.graph = torch.cuda.CUDAGraph()
        side_stream = torch.cuda.Stream()
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            for _ in range(WARM_UP_PASSES):
                gradients(self.x, self.unit_quality)
        torch.cuda.current_stream().wait_stream(side_stream)
        for parameter in parameters:
            parameter.grad = None  # the recording allocates gradients of its own, which each replay overwrites
        with torch.cuda.graph(self.graph):
            self.result = gradients(self.x, self.unit_quality)

    def __call__(self, x: Tensor, unit_quality: Tensor) -> Tensor:
        """The result of ``gradients`` for a batch. The next call overwrites it."""
        self.x.copy_(x)
        self.unit_quality.copy_(unit_quality)
        self.graph.replay()
        return self.result
