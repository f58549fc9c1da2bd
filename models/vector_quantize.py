"""Vector quantisation with a learned codebook, and the straight-through primitive it shares with rounding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


def straight_through(soft: Tensor, hard: Tensor) -> Tensor:
    """``hard`` in the forward pass, the gradient of ``soft`` in the backward pass (Bengio et al. 2013)."""
    return soft + (hard - soft).detach()


class Assigned(NamedTuple):
    """What a codebook answers for vectors of shape (..., d)."""

    vectors: Tensor  # (..., d): the codewords, with the gradient passed straight to the input
    indices: Tensor  # (...): int64 codeword indices
    bits: Tensor  # (...): ideal code length of each index under its usage so far
    loss: Tensor  # scalar: the weighted commitment loss


class VectorQuantizer(nn.Module):
    """Nearest-codeword quantisation with a codebook that follows its vectors (van den Oord et al. 2017).

    The codebook is not trained by gradients: each codeword is the exponential moving average of the
    vectors assigned to it. Only the commitment loss ``beta * |z_e - sg(z_q)|^2`` acts on the encoder,
    beside the gradient that passes straight through. Codewords that fall out of use are re-seeded
    from the current batch. The entropy of the indices is that of their usage counts
    (entropy-constrained VQ; Chou, Lookabaugh, Gray 1989, without the rate in the assignment).

    ``assignment="gumbel"`` samples the codeword in training from a softmax over negative distances
    (Jang et al. 2017), a smoother option whose gradient reaches all codewords' weights.
    """

    def __init__(
        self, codewords: int, dim: int, *, beta: float = 0.25, decay: float = 0.99, assignment: str = "nearest"
    ) -> None:
        super().__init__()
        if assignment not in ("nearest", "gumbel"):
            raise ValueError(f"assignment {assignment!r} is neither 'nearest' nor 'gumbel'")
        self.beta, self.decay, self.assignment = beta, decay, assignment
        self.register_buffer("codewords", torch.randn(codewords, dim))
        self.register_buffer("usage", torch.ones(codewords))
        self.register_buffer("sums", self.codewords.clone())

    def forward(self, vectors: Tensor, temperature: float = 1.0) -> Assigned:
        """Assign each of ``vectors`` (..., d) to a codeword; in training, also move the codebook."""
        flat = vectors.reshape(-1, vectors.shape[-1])  # (N, d)
        distances = torch.cdist(flat.detach(), self.codewords).square()  # (N, K)
        indices = distances.argmin(1)
        nearest = self.codewords[indices]
        loss = self.beta * functional.mse_loss(flat, nearest.detach())
        bits = -torch.log2(self.usage / self.usage.sum())[indices]
        if self.training and self.assignment == "gumbel":
            codewords = self.codewords.clone()  # the codebook moves below, before the backward pass
            logits = -(flat.unsqueeze(1) - codewords).square().sum(2)  # (N, K)
            quantized = functional.gumbel_softmax(logits, tau=temperature, hard=True) @ codewords
        else:
            quantized = straight_through(flat, nearest)
        if self.training:
            self._follow(flat.detach(), indices)
        shape = vectors.shape[:-1]
        return Assigned(quantized.reshape(vectors.shape), indices.reshape(shape), bits.reshape(shape), loss)

    @torch.no_grad()
    def _follow(self, flat: Tensor, indices: Tensor) -> None:
        counts = torch.bincount(indices, minlength=len(self.codewords)).to(flat.dtype)
        sums = torch.zeros_like(self.sums).index_add_(0, indices, flat)
        self.usage.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        unused = self.usage < 1e-2
        if unused.any():
            chosen = torch.randint(len(flat), (int(unused.sum()),), device=flat.device)
            self.sums[unused] = flat[chosen]
            self.usage[unused] = 1.0
        self.codewords.copy_(self.sums / self.usage.unsqueeze(1).clamp(min=1e-2))
