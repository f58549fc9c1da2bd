"""The architecture: every width, depth and table size of a model, in one frozen dataclass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from codec.entropy.constants import STEPS

BLOCK_COUNTS = ("analysis_blocks8", "analysis_blocks16", "synthesis_blocks8", "synthesis_blocks16", "context_blocks")
"""What a model can have more or fewer of than the one that its training starts from."""
HIDDEN_WIDTHS = {"synthesis_hidden8": "width8", "synthesis_hidden16": "width16"}
"""What it can have fewer of, and what each of them can be at most, which 0 stands for."""
MOST_WEIGHTS = 1 << 28
"""In blocks."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of the networks. Stored in the checkpoint and in the exported model file.

    ``latents`` must be a multiple of 16: four groups for the context steps, and vectors of four
    channels in the vector-quantised recipe. The synthesis' blocks compute with ``synthesis_hidden8`` and
    ``synthesis_hidden16`` channels inside; 0 becomes as many as go through them.
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
            if type(value) is not int or not least <= value <= 4096:
                raise ValueError(f"architecture: {field.name} must be an integer from {least} to 4096, not {value!r}")
        if self.latents % 16:
            raise ValueError(f"architecture: latents must be a multiple of 16, not {self.latents}")
        for name, outer in HIDDEN_WIDTHS.items():
            object.__setattr__(self, name, getattr(self, name) or getattr(self, outer))
            if getattr(self, name) > getattr(self, outer):
                raise ValueError(f"architecture: {name} must not be above {outer}")
        blocks8 = self.analysis_blocks8 + self.synthesis_blocks8
        blocks16 = self.analysis_blocks16 + self.synthesis_blocks16
        # Five matrices of the width squared in a block, four in one of a context step; depthwise kernels are few.
        weights = 5 * (blocks8 * self.width8**2 + blocks16 * self.width16**2)
        weights += 4 * STEPS * self.context_blocks * self.context_width**2
        if weights > MOST_WEIGHTS:
            raise ValueError(f"architecture: blocks of over {MOST_WEIGHTS} weights")

    @property
    def synthesis_halo(self) -> int:
        """How many latents around a tile its pixels depend on (each 3x3 reaches one position further)."""
        return self.synthesis_blocks16 + -(-self.synthesis_blocks8 // 2)

    @property
    def analysis_halo(self) -> int:
        """How many latents' worth of pixels around a tile its latents depend on."""
        return self.analysis_blocks16 + -(-self.analysis_blocks8 // 2)
