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


def load_picture(path: Path) -> Tensor | None:
    """A picture as uint8 (3, H, W), or None when it cannot be read or is under 64 pixels on a side."""
    try:
        pixels = np.array(open_picture(path, first_frame=True).convert("RGB"))
    except CodecError:
        return None
    if min(pixels.shape[:2]) < MIN_SIDE:
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)


def load_folder(folder: Path) -> tuple[list[Tensor], int]:
    """All pictures below ``folder``, in the order of their names, and how many files were skipped.

    Raises:
        ValueError: when the folder does not exist or holds no readable picture.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(load_picture, paths))
    pictures = [p for p in found if p is not None]
    if not pictures:
        raise ValueError(f"{folder}: no readable picture of at least {MIN_SIDE}x{MIN_SIDE} pixels")
    return pictures, len(found) - len(pictures)


def random_crop(picture: Tensor, size: int, downscale: float, generator: torch.Generator) -> Tensor:
    """A float crop (3, size, size) in [0, 1], flipped or turned, scaled down with probability ``downscale``."""

    def draw(limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=generator))

    side = size
    room = min(picture.shape[1:]) / size
    if room > 1.1 and float(torch.rand(1, generator=generator)) < downscale:
        side = int(size * (1 + (min(room, 2.0) - 1) * float(torch.rand(1, generator=generator))))
    top = draw(max(1, picture.shape[1] - side + 1))
    left = draw(max(1, picture.shape[2] - side + 1))
    crop = picture[:, top : top + side, left : left + side].float() / 255
    missing = (0, max(0, side - crop.shape[2]), 0, max(0, side - crop.shape[1]))
    if any(missing):
        crop = functional.pad(crop.unsqueeze(0), missing, mode="replicate")[0]
    if side != size:
        crop = functional.interpolate(crop.unsqueeze(0), (size, size), mode="bilinear", antialias=True)[0].clamp(0, 1)
    if draw(2):
        crop = crop.flip(2)
    return torch.rot90(crop, draw(4), (1, 2))


def random_batch(pictures: list[Tensor], batch: int, size: int, downscale: float, generator: torch.Generator) -> Tensor:
    """Crops (B, 3, size, size) in channels-last memory order, from pictures drawn by the square root of their area.

    Large pictures hold more to learn, small ones more kinds of it. Those with a side below ``size``, whose crops have
    to be filled up, are left out where they are fewer than half.
    """
    sides = torch.tensor([picture.shape[1:] for picture in pictures])  # (N, 2)
    weights, fills = sides.prod(1).sqrt(), sides.amin(1) >= size
    if 2 * fills.sum() > len(pictures):
        weights = weights * fills
    chosen = torch.multinomial(weights, batch, replacement=True, generator=generator).tolist()
    crops = [random_crop(pictures[i], size, downscale, generator) for i in chosen]
    return torch.stack(crops).contiguous(memory_format=torch.channels_last)
