"""Validation: the model's estimates of rate and distortion, with hard rounding and integer arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor

from codec_models.networks.compression_model import CompressionModel, psnr, rate_distortion
from codec_models.networks.integer import is_exact, set_exact
from codec_models.training.device import full_float32

UNIT_QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The qualities that are validated, in [0, 1]."""
MAX_SIDE = 256
"""Side of a validation crop in pixels, at most."""


def centre_crop(picture: Tensor) -> Tensor:
    """The centre of a picture (uint8 (3, H, W)): (1, 3, S, S) in [0, 1], S a multiple of 64 up to ``MAX_SIDE``."""
    side = min(MAX_SIDE, *(length // 64 * 64 for length in picture.shape[1:]))
    top, left = ((length - side) // 2 for length in picture.shape[1:])
    return picture[:, top : top + side, left : left + side].unsqueeze(0).float() / 255


@torch.no_grad()
@full_float32()
def validate(model: CompressionModel, pictures: list[Tensor], exact: bool = True) -> list[tuple[float, float, float]]:
    """Rows (unit quality, bpp, PSNR in dB), means over the centres of ``pictures`` (uint8 (3, H, W)).

    Without ``exact``, the entropy networks compute in floating point; no file can be coded like that. Leaves ``model``
    in evaluation mode.
    """
    was_exact = is_exact(model)
    set_exact(model.eval(), exact)
    device = next(model.parameters()).device
    rows = []
    for unit_quality in UNIT_QUALITIES:
        rates, psnrs = [], []
        for picture in pictures:
            x = centre_crop(picture).to(device)
            bpp, mse = rate_distortion(model(x, torch.full((1,), unit_quality, device=device)), x)
            rates.append(float(bpp))
            psnrs.append(float(psnr(mse)))
        rows.append((unit_quality, sum(rates) / len(rates), sum(psnrs) / len(psnrs)))
    set_exact(model, was_exact)
    return rows
