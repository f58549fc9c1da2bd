"""Vector quantisation with a learned codebook, and the straight-through primitive it shares with rounding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from codec.entropy.constants import MEAN_SHIFT, VECTOR_CLASS_LEVELS, VECTOR_CLASSES
from codec_models.quantization.scalar import Quantized
from codec_models.quantization.straight_through import straight_through


class Assigned(NamedTuple):
    """What a codebook answers for vectors (N, d)."""

    vectors: Tensor  # (N, d): the codewords, with the gradient passed straight to the input
    indices: Tensor  # (N,): int64 codeword indices
    bits: Tensor  # (N,): ideal code length of each index under its class's usage so far
    loss: Tensor  # scalar: the weighted commitment loss


class VectorQuantizer(nn.Module):
    """Quantisation to the codeword that is best in rate and distance, with a codebook that follows its vectors.

    The codebook is not trained by gradients: each codeword is the exponential moving average of the
    vectors assigned to it (van den Oord et al. 2017). The commitment loss ``beta * |z_e - sg(z_q)|^2`` acts
    on the encoder, beside the gradient that passes straight through. Codewords that fall out of use are
    re-seeded from the current batch.

    An index is coded under the usage counts of its class, and costs ``rate_weight`` of squared distance for
    each of its bits when it is chosen (entropy-constrained VQ; Chou, Lookabaugh, Gray 1989). In training the
    gradient of the bits is that of their expectation under a softmax over these costs.

    ``assignment="gumbel"`` samples the codeword in training from a softmax over negative distances
    (Jang et al. 2017), a smoother option whose gradient reaches all codewords' weights.
    """

    def __init__(
        self,
        codewords: int,
        dim: int,
        *,
        classes: int = 1,
        beta: float = 0.25,
        rate_weight: float = 0.0,
        decay: float = 0.99,
        assignment: str = "nearest",
    ) -> None:
        super().__init__()
        if assignment not in ("nearest", "gumbel"):
            raise ValueError(f"assignment {assignment!r} is neither 'nearest' nor 'gumbel'")
        self.beta, self.rate_weight, self.decay, self.assignment = beta, rate_weight, decay, assignment
        self.register_buffer("codewords", torch.randn(codewords, dim))
        self.register_buffer("usage", torch.ones(classes, codewords))
        self.register_buffer("sums", self.codewords.clone())

    def code_lengths(self) -> Tensor:
        """Bits (classes, K) of each index; none is taken for rarer than one in 2**16."""
        share = self.usage / self.usage.sum(1, keepdim=True)
        return -torch.log2(share.clamp(min=2.0**-16))

    def forward(self, vectors: Tensor, classes: Tensor | None = None, temperature: float = 1.0) -> Assigned:
        """Assign each of ``vectors`` (N, d), of ``classes`` (N,) int64, to a codeword; in training, also move these."""
        if classes is None:
            classes = torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device)
        lengths = self.code_lengths()[classes]  # (N, K)
        words = self.codewords.clone()  # the codebook moves below, before the backward pass
        distances = torch.cdist(vectors, words, compute_mode="use_mm_for_euclid_dist").square()
        costs = distances + self.rate_weight * lengths
        indices = costs.detach().argmin(1)
        nearest = words[indices]
        loss = self.beta * functional.mse_loss(vectors, nearest)
        bits = lengths.gather(1, indices.unsqueeze(1)).squeeze(1)
        quantized = straight_through(vectors, nearest)
        if self.training:
            if self.rate_weight > 0:
                expected = (torch.softmax(-costs / self.rate_weight, dim=1) * lengths).sum(1)
                bits = straight_through(expected, bits)
            if self.assignment == "gumbel":
                quantized = functional.gumbel_softmax(-distances, tau=temperature, hard=True) @ words
            self._follow(vectors.detach(), classes, indices)
        return Assigned(quantized, indices, bits, loss)

    @torch.no_grad()
    def _follow(self, vectors: Tensor, classes: Tensor, indices: Tensor) -> None:
        ones = torch.ones(len(indices), dtype=vectors.dtype, device=vectors.device)
        counts = torch.zeros_like(self.usage).index_put_((classes, indices), ones, accumulate=True)
        sums = torch.zeros_like(self.sums).index_add_(0, indices, vectors)
        self.usage.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        unused = self.usage.sum(0) < 1e-2
        if unused.any():
            chosen = torch.randint(len(vectors), (int(unused.sum()),), device=vectors.device)
            self.sums[unused] = vectors[chosen]
            self.usage[:, unused] = 1.0 / len(self.usage)
        self.codewords.copy_(self.sums / self.usage.sum(0).unsqueeze(1).clamp(min=1e-2))


class ResidualVectorQuantizer(nn.Module):
    """The latent's residual ``y - mean``, cut along channels into short vectors, each sent as an index.

    A vector's class, under whose usage its index is coded, follows from its predicted scales. Outside
    training codewords are whole multiples of the latents' unit, as in the exported model.
    """

    counts_bits = True
    follows_progress = True

    def __init__(self, assignment: str, codewords: int = 256, dim: int = 4, rate_weight: float = 0.1) -> None:
        super().__init__()
        self.dim = dim
        self.codebook = VectorQuantizer(
            codewords, dim, classes=VECTOR_CLASSES, rate_weight=rate_weight, assignment=assignment
        )

    def train(self, mode: bool = True) -> ResidualVectorQuantizer:
        """Leaving training also rounds the codewords."""
        if self.training and not mode:
            self.codebook.codewords.mul_(2**MEAN_SHIFT).round_().mul_(2.0**-MEAN_SHIFT)
        return super().train(mode)

    def forward(self, y: Tensor, mean: Tensor, scale_index: Tensor, progress: float = 1.0) -> Quantized:
        """Quantise ``y`` (B, C, H, W), C a multiple of the codeword length, around ``mean``."""
        batch, channels, height, width = y.shape

        def vectors(x: Tensor) -> Tensor:  # (N, d)
            x = x.reshape(batch, channels // self.dim, self.dim, height, width).permute(0, 1, 3, 4, 2)
            return x.reshape(-1, self.dim)

        def back(x: Tensor) -> Tensor:
            x = x.reshape(batch, channels // self.dim, height, width, self.dim)
            return x.permute(0, 1, 4, 2, 3).reshape(y.shape)

        level = torch.floor(vectors(scale_index.detach()) + 0.5).sum(1) // (self.dim * VECTOR_CLASS_LEVELS)
        classes = level.long().clamp(0, VECTOR_CLASSES - 1)
        found = self.codebook(vectors(y - mean), classes, temperature=max(0.1, 1.0 - progress))
        bits = (found.bits / self.dim).unsqueeze(1).expand(-1, self.dim)
        return Quantized(mean + back(found.vectors), back(bits), found.loss)
