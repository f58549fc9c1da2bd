"""The architecture: every width, depth and table size of a model, in one frozen dataclass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from codec.entropy.constants import STEPS

BLOCK_COUNTS = ("analysis_blocks8", "analysis_blocks16", "synthesis_blocks8", "synthesis_blocks16", "context_blocks")
"""Fields that may differ between a model and the one that its training starts from, in either direction."""
HIDDEN_WIDTHS = {"synthesis_hidden8": "width8", "synthesis_hidden16": "width16"}
"""Fields that may be smaller than in the model that training starts from, each with the field that bounds it."""
MAX_WIDTH = 4096
"""The largest value of any field: a limit against typing errors, far above what can be trained."""
MAX_BLOCK_WEIGHTS = 1 << 28
"""The most weights in all blocks together: 1 GiB in float32."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of the networks. A checkpoint and an exported model file hold them as part of the recipe.

    All fields are integers. Fields that end in 8 are about features with one position for 8x8 pixels, fields that end
    in 16 about features with one position for 16x16 pixels.

    Attributes:
        latents: M, channels of the latents; a multiple of 16 (four groups of channels for the context steps, vectors of
            four channels in vector-quantised models).
        hyper_latents: N, channels of the hyper-latents.
        width8, width16: channels of the features of g_a and g_s.
        analysis_blocks8, analysis_blocks16: residual blocks of g_a.
        synthesis_blocks8, synthesis_blocks16: residual blocks of g_s.
        synthesis_hidden8, synthesis_hidden16: channels inside the blocks of g_s, at most ``width8`` and ``width16``;
            0 stands for these.
        hyper_width: channels of the features of h_a.
        parameter_width: channels of the features of h_s.
        context_width: channels of the features of a context step.
        context_blocks: residual blocks of a context step, 0 or more.
        anchors: qualities, evenly spaced over the range, at which gains and the scales of blocks are learned.

    Raises:
        ValueError: for a field out of range.
    """

    latents: int = 320
    hyper_latents: int = 128
    width8: int = 192
    width16: int = 320
    analysis_blocks8: int = 2
    analysis_blocks16: int = 3
    synthesis_blocks8: int = 2
    synthesis_blocks16: int = 3
    synthesis_hidden8: int = 0
    synthesis_hidden16: int = 0
    hyper_width: int = 192
    parameter_width: int = 192
    context_width: int = 192
    context_blocks: int = 0
    anchors: int = 9

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("context_blocks", *HIDDEN_WIDTHS) else 1
            if type(value) is not int or not least <= value <= MAX_WIDTH:
                raise ValueError(
                    f"architecture: {field.name} must be an integer from {least} to {MAX_WIDTH}, not {value!r}"
                )
        if self.latents % 16:
            raise ValueError(f"architecture: latents must be a multiple of 16, not {self.latents}")
        for name, bound in HIDDEN_WIDTHS.items():
            object.__setattr__(self, name, getattr(self, name) or getattr(self, bound))
            if getattr(self, name) > getattr(self, bound):
                raise ValueError(f"architecture: {name} must not be above {bound}")
        if self._block_weights() > MAX_BLOCK_WEIGHTS:
            raise ValueError(f"architecture: blocks of over {MAX_BLOCK_WEIGHTS} weights")

    def _block_weights(self) -> int:
        """An upper bound on the weights of all blocks, without the few of depthwise convolutions."""
        blocks8 = self.analysis_blocks8 + self.synthesis_blocks8
        blocks16 = self.analysis_blocks16 + self.synthesis_blocks16
        # Five 1x1 convolutions in a block of a transform; two with twice the width in a block of a context step.
        weights = 5 * (blocks8 * self.width8**2 + blocks16 * self.width16**2)
        return weights + 4 * STEPS * self.context_blocks * self.context_width**2

    @property
    def synthesis_halo(self) -> int:
        """Cells around a cell that its pixels depend on: each block's 3x3 reaches one position further."""
        return self.synthesis_blocks16 + -(-self.synthesis_blocks8 // 2)
