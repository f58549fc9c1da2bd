"""Training pictures: decoded once, kept in memory as bytes, cut into random crops."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from codec.errors import CodecError
from codec.pictures.files import open_picture

MIN_SIDE = 64
"""Smallest side of a training picture in pixels: the networks take multiples of 64."""
MAX_DOWNSCALE = 2.0
"""Crops are scaled down by at most this factor (no unit)."""
MIN_DOWNSCALE = 1.1
"""A picture is scaled down only if its size allows at least this factor (no unit)."""


def load_picture(path: Path) -> Tensor | None:
    """A picture as uint8 (3, H, W), or None when it cannot be read or has a side below ``MIN_SIDE``."""
    try:
        pixels = np.array(open_picture(path, first_frame=True).convert("RGB"))
    except CodecError:
        return None
    if min(pixels.shape[:2]) < MIN_SIDE:
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)


def load_folder(folder: Path) -> tuple[list[Tensor], int]:
    """The pictures below ``folder``, uint8 (3, H, W), sorted by path, and the number of files that were skipped.

    Raises:
        ValueError: when the folder does not exist or has no readable picture.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:
        pictures = [picture for picture in pool.map(load_picture, paths) if picture is not None]
    if not pictures:
        raise ValueError(f"{folder}: no readable picture of at least {MIN_SIDE}x{MIN_SIDE} pixels")
    return pictures, len(paths) - len(pictures)


def random_crop(picture: Tensor, size: int, downscale: float, generator: torch.Generator) -> Tensor:
    """A random crop of ``picture`` (uint8 (3, H, W)): float (3, size, size) in [0, 1], randomly flipped and rotated.

    With probability ``downscale``, it is scaled down from a larger square. A picture that is too small is continued
    with the pixels at its edge.
    """

    def draw(limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=generator))

    def draw_float() -> float:
        return float(torch.rand(1, generator=generator))

    side = size
    max_factor = min(picture.shape[1:]) / size
    if max_factor > MIN_DOWNSCALE and draw_float() < downscale:
        side = int(size * (1 + (min(max_factor, MAX_DOWNSCALE) - 1) * draw_float()))
    top = draw(max(1, picture.shape[1] - side + 1))
    left = draw(max(1, picture.shape[2] - side + 1))
    crop = picture[:, top : top + side, left : left + side].float() / 255
    padding = (0, max(0, side - crop.shape[2]), 0, max(0, side - crop.shape[1]))
    if any(padding):
        crop = functional.pad(crop.unsqueeze(0), padding, mode="replicate")[0]
    if side != size:
        crop = functional.interpolate(crop.unsqueeze(0), (size, size), mode="bilinear", antialias=True)[0].clamp(0, 1)
    if draw(2):
        crop = crop.flip(2)
    return torch.rot90(crop, draw(4), (1, 2))


def random_batch(pictures: list[Tensor], batch: int, size: int, downscale: float, generator: torch.Generator) -> Tensor:
    """Random crops (batch, 3, size, size) in [0, 1], channels last in memory.

    A picture (uint8 (3, H, W)) is drawn with a probability proportional to the square root of its area: large pictures
    have more content, but small ones add variety. Pictures with a side below ``size``, whose crops need padding, are
    left out if they are fewer than half.
    """
    sides = torch.tensor([picture.shape[1:] for picture in pictures])  # (N, 2)
    weights, is_large = sides.prod(1).sqrt(), sides.amin(1) >= size
    if 2 * is_large.sum() > len(pictures):
        weights = weights * is_large
    indices = torch.multinomial(weights, batch, replacement=True, generator=generator).tolist()
    crops = [random_crop(pictures[i], size, downscale, generator) for i in indices]
    return torch.stack(crops).contiguous(memory_format=torch.channels_last)
