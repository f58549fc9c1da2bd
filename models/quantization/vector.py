"""Vector quantisation: short vectors of neighbouring channels become indices into a learned codebook."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from codec.entropy.constants import MEAN_SHIFT, VECTOR_CLASS_LEVELS, VECTOR_CLASSES
from codec_models.quantization.scalar import Quantized
from codec_models.quantization.straight_through import straight_through

MIN_SHARE = 2.0**-16
"""The lowest probability of an index. The tables of the range coder hold no lower one."""
MIN_USAGE = 1e-2
"""Vectors per batch (moving average). A codeword with a lower usage is replaced by a random vector of the batch."""
MIN_TEMPERATURE = 0.1
"""The final temperature (no unit) of the Gumbel softmax. It falls from 1 to this during the training."""


class Assignment(NamedTuple):
    """The codewords chosen for vectors (N, d)."""

    vectors: Tensor  # (N, d): the codewords, with a gradient for the input vectors
    indices: Tensor  # (N,): int64, 0 to K - 1
    bits: Tensor  # (N,): the ideal code length of each index, given its class
    loss: Tensor  # scalar: the commitment loss, weighted by ``beta``


class VectorQuantizer(nn.Module):
    """A codebook of K codewords (K, d), and the choice of one for each vector.

    Choice: the least ``distance^2 + rate_weight * bits``, where the bits of an index follow from how often the vectors
    of its class have used it (entropy-constrained VQ; Chou, Lookabaugh, Gray 1989). In training, the gradient of the
    bits is that of their expectation under a softmax over these costs.

    Gradient: the encoder gets the gradient of the codeword straight through, and that of the commitment loss
    ``beta * |vector - codeword|^2`` (van den Oord et al. 2017). With ``assignment`` "gumbel", training samples the
    codeword from a softmax over negative distances instead (Jang et al. 2017): a noisier choice, a smoother gradient.

    Codebook: no gradient. Each codeword is the exponential moving average of the vectors assigned to it (van den Oord
    et al. 2017), with ``decay`` for each batch; unused ones start again from vectors of the batch.

    Args:
        codewords, dim: K and d.
        classes: how many sets of usage counts; the caller gives each vector's class.
        beta: weight of the commitment loss.
        rate_weight: squared distance that one bit is worth.
        decay: memory of the moving averages, in [0, 1).
        unit: in evaluation, codewords are rounded to multiples of this; 0 for no rounding.
        assignment: "nearest" or "gumbel". Raises ValueError for anything else.
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
        unit: float = 0.0,
        assignment: str = "nearest",
    ) -> None:
        super().__init__()
        if assignment not in ("nearest", "gumbel"):
            raise ValueError(f"assignment {assignment!r} is neither 'nearest' nor 'gumbel'")
        self.beta, self.rate_weight, self.decay = beta, rate_weight, decay
        self.unit, self.assignment = unit, assignment
        self.register_buffer("codewords", torch.randn(codewords, dim))
        # Vectors per batch, averaged over batches; at first as if each codeword was used once.
        self.register_buffer("usage", torch.full((classes, codewords), 1 / classes))
        self.register_buffer("sums", self.codewords.clone())  # of these vectors

    def code_lengths(self) -> Tensor:
        """Bits (classes, K) of each index, at most 16."""
        share = self.usage / self.usage.sum(1, keepdim=True)
        return -torch.log2(share.clamp(min=MIN_SHARE))

    def forward(self, vectors: Tensor, classes: Tensor | None = None, temperature: float = 1.0) -> Assignment:
        """Choose codewords for ``vectors`` (N, d); in training, the codebook then follows them.

        ``classes`` (N,) int64 are 0 by default; ``temperature`` > 0 is that of the Gumbel softmax.
        """
        if classes is None:
            classes = torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device)
        lengths = self.code_lengths()[classes]  # (N, K)
        codewords = self.codewords.clone()  # the codebook changes below, before the backward pass
        if self.unit and not self.training:
            codewords = torch.round(codewords / self.unit) * self.unit
        distances = torch.cdist(vectors, codewords, compute_mode="use_mm_for_euclid_dist").square()
        costs = distances + self.rate_weight * lengths
        indices = costs.detach().argmin(1)
        chosen = codewords[indices]
        loss = self.beta * functional.mse_loss(vectors, chosen)
        bits = lengths.gather(1, indices.unsqueeze(1)).squeeze(1)
        quantized = straight_through(vectors, chosen)
        if self.training:
            if self.rate_weight > 0:
                expected_bits = (torch.softmax(-costs / self.rate_weight, dim=1) * lengths).sum(1)
                bits = straight_through(expected_bits, bits)
            if self.assignment == "gumbel":
                quantized = functional.gumbel_softmax(-distances, tau=temperature, hard=True) @ codewords
            self._update_codebook(vectors.detach(), classes, indices)
        return Assignment(quantized, indices, bits, loss)

    @torch.no_grad()
    def _update_codebook(self, vectors: Tensor, classes: Tensor, indices: Tensor) -> None:
        ones = torch.ones(len(indices), dtype=vectors.dtype, device=vectors.device)
        counts = torch.zeros_like(self.usage).index_put_((classes, indices), ones, accumulate=True)
        sums = torch.zeros_like(self.sums).index_add_(0, indices, vectors)
        self.usage.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        is_unused = self.usage.sum(0) < MIN_USAGE
        if is_unused.any():
            restarts = torch.randint(len(vectors), (int(is_unused.sum()),), device=vectors.device)
            self.sums[is_unused] = vectors[restarts]
            self.usage[:, is_unused] = 1.0 / len(self.usage)
        self.codewords.copy_(self.sums / self.usage.sum(0).unsqueeze(1).clamp(min=MIN_USAGE))


class ResidualVectorQuantizer(nn.Module):
    """Vector quantisation of the residual ``y - mean``: ``dim`` neighbouring channels at one position are one vector.

    The class of a vector follows from its mean scale index, as in ``codec.entropy.codebook.vector_classes``. In
    evaluation, codewords are whole multiples of the latents' unit ``2**-MEAN_SHIFT``, as in exported models.
    """

    counts_bits = True
    """The rate comes from the usage of codewords, not from the entropy model."""
    follows_progress = True
    """The Gumbel softmax cools with progress, and unused codewords start again at any time."""

    def __init__(self, assignment: str, codewords: int = 256, dim: int = 4, rate_weight: float = 0.1) -> None:
        super().__init__()
        self.dim = dim
        self.codebook = VectorQuantizer(
            codewords,
            dim,
            classes=VECTOR_CLASSES,
            rate_weight=rate_weight,
            unit=2.0**-MEAN_SHIFT,  # as in model files
            assignment=assignment,
        )

    def forward(self, y: Tensor, mean: Tensor, scale_index: Tensor, progress: float = 1.0) -> Quantized:
        """Quantise latents ``y`` around ``mean``, both (B, C, H, W) in quantisation steps, C a multiple of ``dim``.

        ``scale_index``, of the same shape, is from 0 to SCALE_LEVELS - 1. ``progress`` in [0, 1] is the fraction of the
        training that is done. The bits of an index are spread evenly over the elements of its vector.
        """
        indices = torch.floor(self._to_vectors(scale_index.detach()) + 0.5)
        classes = indices.sum(1) // (self.dim * VECTOR_CLASS_LEVELS)
        classes = classes.long().clamp(0, VECTOR_CLASSES - 1)
        temperature = max(MIN_TEMPERATURE, 1.0 - progress)
        assignment = self.codebook(self._to_vectors(y - mean), classes, temperature)
        bits = (assignment.bits / self.dim).unsqueeze(1).expand(-1, self.dim)
        residual = self._from_vectors(assignment.vectors, y.shape)
        return Quantized(mean + residual, self._from_vectors(bits, y.shape), assignment.loss)

    def _to_vectors(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to vectors (B * C/d * H * W, d) of neighbouring channels."""
        batch, channels, height, width = x.shape
        x = x.reshape(batch, channels // self.dim, self.dim, height, width)
        return x.permute(0, 1, 3, 4, 2).reshape(-1, self.dim)

    def _from_vectors(self, vectors: Tensor, shape: torch.Size) -> Tensor:
        """The inverse of ``_to_vectors``: vectors to (B, C, H, W) = ``shape``."""
        batch, channels, height, width = shape
        x = vectors.reshape(batch, channels // self.dim, height, width, self.dim)
        return x.permute(0, 1, 4, 2, 3).reshape(shape)
