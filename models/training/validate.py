"""Validation: rate and distortion as the codec will reach them, with hard rounding and integer arithmetic."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from codec_models.networks.compression_model import CompressionModel, rate_distortion
from codec_models.networks.integer import is_exact, set_exact

QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
LARGEST_SIDE = 256


def centre_crop(picture: Tensor) -> Tensor:
    """The middle of a uint8 picture (3, H, W) as (1, 3, S, S) in [0, 1], S a multiple of 64 up to 256 pixels."""
    side = min(LARGEST_SIDE, *(s // 64 * 64 for s in picture.shape[1:]))
    top, left = ((s - side) // 2 for s in picture.shape[1:])
    return picture[:, top : top + side, left : left + side].unsqueeze(0).float() / 255


@torch.no_grad()
def validate(model: CompressionModel, pictures: list[Tensor], exact: bool = True) -> list[tuple[float, float, float]]:
    """(quality in [0, 1], bpp, PSNR in dB) at five qualities, averaged over the middles of ``pictures``.

    Without ``exact``, with the entropy networks in floating point, which no file can be coded with.
    """
    was_exact = is_exact(model)
    set_exact(model.eval(), exact)
    device = next(model.parameters()).device
    rows = []
    for quality in QUALITIES:
        rates, decibels = [], []
        for picture in pictures:
            x = centre_crop(picture).to(device)
            bpp, mse = rate_distortion(model(x, torch.full((1,), quality, device=device)), x)
            rates.append(float(bpp))
            decibels.append(-10 * math.log10(max(1e-10, float(mse))))
        rows.append((quality, sum(rates) / len(rates), sum(decibels) / len(decibels)))
    set_exact(model, was_exact)
    return rows
