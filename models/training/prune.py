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

from codec_models.networks.architecture import BLOCK_COUNTS, HIDDEN_WIDTHS, Architecture
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.integer import set_exact
from codec_models.networks.layers import BRANCH_SCALE, Block, branch_output
from codec_models.training.coded_crops import coded_crops
from codec_models.training.recipe import Recipe

CROPS = 120
RIDGE = 1e-4
"""What is added to the mean square of channels, as a share of all channels' mean: some are nearly sums of others."""


class Features(NamedTuple):
    """What goes through the synthesis for one crop."""

    larger: Tensor  # (1, C, H, W), in the larger model
    smaller: Tensor  # as large, in what is made of it
    quality: Tensor  # (1,), in [0, 1]
    weight: float  # what a squared error counts


def pruned(model: CompressionModel, to: Architecture, recipe: Recipe, pictures: list[Tensor]) -> CompressionModel:
    """``model`` with no more blocks than ``to`` has, nor channels inside those of its synthesis.

    The first blocks are kept. ``model`` itself where it has no more than that, or is not like ``to`` in all else.
    """
    of = model.architecture
    sizes = {name: min(getattr(of, name), getattr(to, name)) for name in (*BLOCK_COUNTS, *HIDDEN_WIDTHS)}
    architecture = dataclasses.replace(of, **sizes)
    if architecture == of or architecture != dataclasses.replace(to, **sizes):
        return model
    smaller = CompressionModel(architecture, recipe.quantization)
    state = smaller.state_dict()
    same = {n: v for n, v in model.state_dict().items() if n in state and v.shape == state[n].shape}
    smaller.load_state_dict(same, strict=False)
    smaller.likelihood.mixture = model.likelihood.mixture
    if any(size != getattr(of, name) for name, size in sizes.items() if name.startswith("synthesis")):
        _fit_synthesis(model, smaller, recipe, pictures)
    return smaller


@torch.no_grad()
def _fit_synthesis(model: CompressionModel, smaller: CompressionModel, recipe: Recipe, pictures: list[Tensor]) -> None:
    set_exact(model.eval(), True)
    crops = []
    coded_ones = coded_crops(model, pictures, CROPS, recipe.crop, recipe.seed, downscale=recipe.downscale)
    for _, quality, coded in coded_ones:
        head = model.g_s.head(coded.latents.y_hat * model.inverse_gain(quality))
        weight = (recipe.lambda_at(float(quality)) / recipe.lambda_at(0.5)) ** 0.5  # as in training
        crops.append(Features(head, head, quality, weight))
    crops = _fit_blocks(model.g_s.blocks16, smaller.g_s.blocks16, crops)
    crops = [crop._replace(larger=_up(model, crop.larger), smaller=_up(model, crop.smaller)) for crop in crops]
    _fit_blocks(model.g_s.blocks8, smaller.g_s.blocks8, crops)


def _up(model: CompressionModel, x: Tensor) -> Tensor:
    return functional.pixel_shuffle(model.g_s.up(x), 2)


def _fit_blocks(larger: nn.ModuleList, smaller: nn.ModuleList, crops: list[Features]) -> list[Features]:
    """Make the blocks ``smaller`` of the first of ``larger``; gives the features behind all of them."""
    for i, block in enumerate(larger):
        for inside, first, last in ((_mixed, ("mix", "depthwise"), "project"), (Block.gated, ("expand",), "contract")):
            end = getattr(block, last)
            crops = [
                c._replace(larger=c.larger + branch_output(end, inside(block, c.larger, c.quality))) for c in crops
            ]
            if i >= len(smaller):
                continue
            seen = [inside(block, c.smaller, c.quality) for c in crops]
            new = getattr(smaller[i], last)
            kept, weight, bias = _fewest_missed(seen, crops, new.in_channels)
            new.weight.copy_(weight[:, :, None, None] / BRANCH_SCALE)
            new.bias.copy_(bias / BRANCH_SCALE)
            for name in first:
                _take_rows(getattr(block, name), getattr(smaller[i], name), kept)
            if inside is Block.gated:
                smaller[i].scale.log_scale.copy_(block.scale.log_scale[:, kept])
            crops = [
                c._replace(smaller=c.smaller + branch_output(new, channels[:, kept]))
                for c, channels in zip(crops, seen, strict=True)
            ]
    return crops


def _mixed(block: Block, x: Tensor, _quality: Tensor) -> Tensor:
    return block.mixed(x)


def _take_rows(layer: nn.Conv2d, new: nn.Conv2d, kept: Tensor) -> None:
    """Give ``new`` those output channels of ``layer``; of both halves, where it has two of as many."""
    halves = new.out_channels // len(kept)
    rows = torch.cat([kept + half * (layer.out_channels // halves) for half in range(halves)])
    new.weight.copy_(layer.weight[rows])
    new.bias.copy_(layer.bias[rows])


def _fewest_missed(seen: list[Tensor], crops: list[Features], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` channels of ``seen``, (1, C, H, W) each, that give best what the smaller features lack.

    Returns (kept, weight, bias): indices in rising order, and what they are weighed by, (C_out, count) and (C_out,).
    """
    squares = products = 0.0
    for channels, crop in zip(seen, crops, strict=True):
        ones = torch.ones_like(channels[:, :1])  # for the bias
        both = (torch.cat([channels, ones], 1), crop.larger - crop.smaller)
        inputs, wanted = (x[0].flatten(1).double() for x in both)  # (C + 1, N), (C_out, N)
        squares += crop.weight * (inputs @ inputs.T)
        products += crop.weight * (inputs @ wanted.T)
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
