"""A smaller model out of a larger one: fewer blocks, and fewer hidden channels in the blocks of the synthesis.

Channels are removed one at a time, each time the one whose removal costs least (Optimal Brain Surgeon; Hassibi and
Stork 1992). The last layers of branches are fitted by least squares to the features of the larger model on real crops,
so that each branch also corrects the errors of the branches before it. Training continues from there.
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
"""Number of crops that the smaller synthesis is fitted to."""
RIDGE = 1e-4
"""Added to each channel's entry of the Gram matrix's diagonal, as a share of the mean entry. Some channels are nearly
sums of others, so the matrix is nearly singular without it."""
MIN_RIDGE = 1e-12
"""Lower bound of what is added, for a Gram matrix of channels that are all zero."""


class Features(NamedTuple):
    """Features of one crop at a point of the synthesis."""

    larger: Tensor  # (1, C, H, W), in the larger model
    smaller: Tensor  # (1, C, H, W), in the smaller model
    unit_quality: Tensor  # (1,), in [0, 1]
    weight: float  # of squared errors


def pruned(model: CompressionModel, target: Architecture, recipe: Recipe, pictures: list[Tensor]) -> CompressionModel:
    """``model`` with at most the blocks and hidden synthesis channels that ``target`` has. The first blocks are kept.

    Returns ``model`` itself if it has no more than that, or if its architecture differs from ``target`` in anything
    else. ``recipe`` and ``pictures`` (uint8 (3, H, W)) say what crops the synthesis is fitted to.
    """
    source = model.architecture
    sizes = {name: min(getattr(source, name), getattr(target, name)) for name in (*BLOCK_COUNTS, *HIDDEN_WIDTHS)}
    architecture = dataclasses.replace(source, **sizes)
    if architecture == source or architecture != dataclasses.replace(target, **sizes):
        return model
    smaller = CompressionModel(architecture, recipe.quantization)
    shapes = {name: value.shape for name, value in smaller.state_dict().items()}
    weights = {name: value for name, value in model.state_dict().items() if shapes.get(name) == value.shape}
    smaller.load_state_dict(weights, strict=False)
    smaller.likelihood.mixture = model.likelihood.mixture
    if any(size != getattr(source, name) for name, size in sizes.items() if name.startswith("synthesis")):
        _fit_synthesis(model, smaller, recipe, pictures)
    return smaller


@torch.no_grad()
def _fit_synthesis(model: CompressionModel, smaller: CompressionModel, recipe: Recipe, pictures: list[Tensor]) -> None:
    set_exact(model.eval(), True)
    features = []
    for crop in coded_crops(model, pictures, CROPS, recipe.crop, recipe.seed, downscale=recipe.downscale):
        y_hat = crop.compressed.latents.y_hat
        head = model.g_s.head(y_hat * model.inverse_gain(crop.unit_quality))
        unit_quality = float(crop.unit_quality)
        weight = recipe.lambda_at(unit_quality) * recipe.loss_weight(unit_quality)  # as in the training loss
        features.append(Features(head, head, crop.unit_quality, weight))
    features = _fit_blocks(model.g_s.blocks16, smaller.g_s.blocks16, features)
    features = [f._replace(larger=_upsampled(model, f.larger), smaller=_upsampled(model, f.smaller)) for f in features]
    _fit_blocks(model.g_s.blocks8, smaller.g_s.blocks8, features)


def _upsampled(model: CompressionModel, x: Tensor) -> Tensor:
    return functional.pixel_shuffle(model.g_s.up(x), 2)


def _fit_blocks(larger: nn.ModuleList, smaller: nn.ModuleList, features: list[Features]) -> list[Features]:
    """Fit the blocks ``smaller`` to the first ones of ``larger``. Returns the features after all blocks."""
    for i, block in enumerate(larger):
        new_block = smaller[i] if i < len(smaller) else None
        for branch in BRANCHES:
            features = _fit_branch(branch, block, new_block, features)
    return features


class _Branch(NamedTuple):
    """The layers of a branch of ``Block``."""

    first: tuple[str, ...]  # layers whose output channels are removed
    last: str  # the layer whose input channels are removed

    def inner_features(self, block: Block, x: Tensor, unit_quality: Tensor) -> Tensor:
        """The input (1, hidden, H, W) of the last layer, from features (1, C, H, W)."""
        return block.gated(x, unit_quality) if "gate" in self.first else block.mixed(x)


BRANCHES = (_Branch(("mix", "depthwise"), "project"), _Branch(("value", "gate"), "contract"))
"""The branches of ``Block`` in the order in which they run."""


def _fit_branch(branch: _Branch, block: Block, new_block: Block | None, features: list[Features]) -> list[Features]:
    """Fit one branch of ``new_block`` to that of ``block``, if there is one. Returns the features after the branch."""
    last = getattr(block, branch.last)
    outputs = [f.larger + branch_output(last, branch.inner_features(block, f.larger, f.unit_quality)) for f in features]
    features = [f._replace(larger=output) for f, output in zip(features, outputs, strict=True)]
    if new_block is None:
        return features
    inner_features = [branch.inner_features(block, f.smaller, f.unit_quality) for f in features]
    new_last = getattr(new_block, branch.last)
    channels, weight, bias = _select_channels(inner_features, features, new_last.in_channels)
    new_last.weight.copy_(weight[:, :, None, None] / BRANCH_SCALE)
    new_last.bias.copy_(bias / BRANCH_SCALE)
    for name in branch.first:
        layer, new_layer = getattr(block, name), getattr(new_block, name)
        new_layer.weight.copy_(layer.weight[channels])
        new_layer.bias.copy_(layer.bias[channels])
    if "gate" in branch.first:
        new_block.scale.log_scale.copy_(block.scale.log_scale[:, channels])
    outputs = [branch_output(new_last, x[:, channels]) for x in inner_features]
    return [f._replace(smaller=f.smaller + output) for f, output in zip(features, outputs, strict=True)]


def _select_channels(
    inner_features: list[Tensor], features: list[Features], count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` channels of ``inner_features`` that best predict the error of the smaller features.

    ``inner_features`` are (1, H_in, H, W) each. Returns (channels, weight, bias): indices (count,) in rising order, and
    the linear layer (C, count) and (C,) that maps these channels to the difference between the larger and the smaller
    features.
    """
    gram = cross = 0.0
    for x, crop in zip(inner_features, features, strict=True):
        ones = torch.ones_like(x[:, :1])  # for the bias
        inputs = torch.cat([x, ones], 1)[0].flatten(1).double()  # (H_in + 1, N)
        target = (crop.larger - crop.smaller)[0].flatten(1).double()  # (C, N)
        gram += crop.weight * (inputs @ inputs.T)
        cross += crop.weight * (inputs @ target.T)
    gram.diagonal()[:-1] += (RIDGE * gram.diagonal()[:-1].mean()).clamp(min=MIN_RIDGE)
    inverse = torch.linalg.inv(gram)
    weight = inverse @ cross
    channels = torch.arange(len(gram))  # the last one is the bias
    while len(channels) > count + 1:
        removed = int((weight.square().sum(1) / inverse.diagonal())[:-1].argmin())
        others = torch.arange(len(channels)) != removed
        row = inverse[removed] / inverse[removed, removed]
        weight = (weight - torch.outer(row, weight[removed]))[others]
        inverse = (inverse - torch.outer(inverse[:, removed], row))[others][:, others]
        channels = channels[others]
    return channels[:-1], weight[:-1].T.float(), weight[-1].float()
