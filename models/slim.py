"""A smaller model out of a larger one: fewer blocks, and fewer channels inside those of the synthesis.

The channels that are left, and the layers behind them, are chosen so that every branch gives what the larger
model has there, mistakes of the branches before it included: least squares on what real crops are coded to, one
channel taken out after the other, each time the one that is missed least (Optimal Brain Surgeon, Hassibi and Stork
1992). Training goes on from there.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architecture import BLOCK_COUNTS, HIDDEN_WIDTHS, Architecture
from models.compression_model import CompressionModel
from models.data import random_batch
from models.integer import set_exact
from models.layers import BRANCH_SCALE, Block, branch_end
from models.recipe import Recipe

BATCHES, BATCH = 12, 5
RIDGE = 1e-4
"""What is added to the mean square of channels, as a share of all channels' mean: some are nearly sums of others."""


class Features(NamedTuple):
    """What goes through the synthesis for one batch of crops."""

    larger: Tensor  # (B, C, H, W), in the larger model
    smaller: Tensor  # as large, in what is made of it
    quality: Tensor  # (B,), in [0, 1]
    weight: Tensor  # (B,): what a squared error counts


def slimmed(model: CompressionModel, to: Architecture, recipe: Recipe, pictures: list[Tensor]) -> CompressionModel:
    """``model`` with no more blocks than ``to`` has, nor channels inside those of its synthesis.

    The first blocks are kept. ``model`` itself where it has no more than that.
    """
    of = model.architecture
    sizes = {name: min(getattr(of, name), getattr(to, name)) for name in (*BLOCK_COUNTS, *HIDDEN_WIDTHS)}
    architecture = dataclasses.replace(of, **sizes)
    if architecture == of:
        return model
    smaller = CompressionModel(architecture, recipe.quantization)
    state = smaller.state_dict()
    kept = {name: value for name, value in model.state_dict().items() if name in state}
    smaller.load_state_dict({n: v for n, v in kept.items() if v.shape == state[n].shape}, strict=False)
    smaller.likelihood.mixture = model.likelihood.mixture
    _fit_synthesis(model, smaller, recipe, pictures)
    return smaller


@torch.no_grad()
def _fit_synthesis(model: CompressionModel, smaller: CompressionModel, recipe: Recipe, pictures: list[Tensor]) -> None:
    set_exact(model.eval(), True)
    generator = torch.Generator().manual_seed(recipe.seed)
    batches = []
    for _ in range(BATCHES):
        x = random_batch(pictures, BATCH, recipe.crop, recipe.downscale, generator)
        quality = (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
        head = model.g_s.head(model(x, quality).y_hat * model.inverse_gain(quality))
        weight = (recipe.distortion_weight(quality) / recipe.distortion_weight(0.5)) ** 0.5  # as in training's loss
        batches.append(Features(head, head, quality, weight))
    batches = _fit_blocks(model.g_s.blocks16, smaller.g_s.blocks16, batches)
    up = [[functional.pixel_shuffle(model.g_s.up(x), 2) for x in batch[:2]] for batch in batches]
    batches = [Features(*both, *batch[2:]) for both, batch in zip(up, batches, strict=True)]
    _fit_blocks(model.g_s.blocks8, smaller.g_s.blocks8, batches)


def _fit_blocks(larger: nn.ModuleList, smaller: nn.ModuleList, batches: list[Features]) -> list[Features]:
    """Make the blocks ``smaller`` of the first of ``larger``; gives the features behind all of them."""
    for i, block in enumerate(larger):
        for inside, first, last in ((_mixed, ("mix", "depthwise"), "project"), (_gated, ("expand",), "contract")):
            end = getattr(block, last)
            batches = [
                b._replace(larger=b.larger + branch_end(end, inside(block, b.larger, b.quality))) for b in batches
            ]
            if i >= len(smaller):
                continue
            seen = [inside(block, b.smaller, b.quality) for b in batches]
            new = getattr(smaller[i], last)
            kept, weight, bias = _fewest_missed(seen, batches, new.in_channels)
            new.weight.copy_(weight[:, :, None, None] / BRANCH_SCALE)
            new.bias.copy_(bias / BRANCH_SCALE)
            for name in first:
                _take_rows(getattr(block, name), getattr(smaller[i], name), kept)
            if inside is _gated:
                smaller[i].scale.log_scale.copy_(block.scale.log_scale[:, kept])
            batches = [
                b._replace(smaller=b.smaller + branch_end(new, channels[:, kept]))
                for b, channels in zip(batches, seen, strict=True)
            ]
    return batches


def _mixed(block: Block, x: Tensor, quality: Tensor) -> Tensor:
    return block.mixed(x)


def _gated(block: Block, x: Tensor, quality: Tensor) -> Tensor:
    return block.gated(x, quality)


def _take_rows(layer: nn.Conv2d, new: nn.Conv2d, kept: Tensor) -> None:
    """Give ``new`` those output channels of ``layer``; of both halves, where it has two of as many."""
    halves = new.out_channels // len(kept)
    rows = torch.cat([kept + half * (layer.out_channels // halves) for half in range(halves)])
    new.weight.copy_(layer.weight[rows])
    new.bias.copy_(layer.bias[rows])


def _fewest_missed(seen: list[Tensor], batches: list[Features], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` channels of ``seen``, (B, C, H, W) each, that give best what the smaller features lack.

    Returns (kept, weight, bias): indices in rising order, and what they are weighed by, (C_out, count) and (C_out,).
    """
    squares = products = 0.0
    for channels, batch in zip(seen, batches, strict=True):
        ones = torch.ones_like(channels[:, :1])  # for the bias
        both = (torch.cat([channels, ones], 1), batch.larger - batch.smaller)
        inputs, wanted = (x.transpose(0, 1).flatten(1).double() for x in both)  # (C + 1, N), (C_out, N)
        weighed = inputs * batch.weight.repeat_interleave(inputs.shape[1] // len(batch.weight))
        squares, products = squares + weighed @ inputs.T, products + weighed @ wanted.T
    squares.diagonal()[:-1] += (RIDGE * squares.diagonal()[:-1].mean()).clamp(min=1e-12)  # of channels without a signal
    inverse = torch.linalg.inv(squares)
    weight = inverse @ products
    kept = torch.arange(len(squares))
    while len(kept) > count + 1:
        least = int((weight.square().sum(1) / inverse.diagonal())[:-1].argmin())
        others = torch.arange(len(kept)) != least
        row = inverse[least] / inverse[least, least]
        weight = (weight - torch.outer(row, weight[least]))[others]
        inverse = (inverse - torch.outer(inverse[:, least], row))[others][:, others]
        kept = kept[others]
    return kept[:-1], weight[:-1].T.float(), weight[-1].float()
