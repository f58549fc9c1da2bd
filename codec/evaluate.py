"""Rate-distortion over a folder: every byte of a real file counted, every pixel of its decoding compared."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from codec.codec import Codec
from codec.errors import CodecError
from codec.metrics import bd_rate, ms_ssim, psnr
from codec.pictures import as_picture, open_picture

RIVALS: dict[str, tuple[str, tuple[int, ...], dict]] = {
    "jpeg": ("JPEG", (5, 10, 20, 30, 45, 65, 85, 93), {"optimize": True, "progressive": True}),
    "webp": ("WEBP", (1, 10, 30, 50, 70, 85, 95), {"method": 6}),
    "avif": ("AVIF", (15, 25, 40, 50, 60, 70, 80, 90), {"speed": 4, "subsampling": "4:4:4"}),
    "jpeg2000": ("JPEG2000", (24, 28, 32, 36, 40, 44), {"quality_mode": "dB", "irreversible": True}),
}
"""Codecs in Pillow: format, qualities (dB for JPEG 2000), and the settings that serve them best."""


def rival_encode(name: str, picture: Image.Image, quality: int) -> bytes:
    """Encode ``picture`` with one of ``RIVALS``. Raises CodecError where Pillow was built without it."""
    pillow_format, _, settings = RIVALS[name]
    wanted = {"quality_layers": [quality]} if name == "jpeg2000" else {"quality": quality}
    buffer = io.BytesIO()
    try:
        picture.save(buffer, pillow_format, **settings, **wanted)
    except (OSError, KeyError, ValueError) as error:
        raise CodecError(f"Pillow here cannot write {name}: {error}") from error
    return buffer.getvalue()


def find_pictures(folder: Path) -> list[Path]:
    """The picture files directly in ``folder``. Raises CodecError when there are none."""
    known = set(Image.registered_extensions())
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in known)
    except OSError as error:
        raise CodecError(f"{folder}: {error.strerror}") from error
    if not paths:
        raise CodecError(f"{folder}: holds no pictures")
    return paths


def _jobs(codec: Codec, qualities: list[float], against: list[str]) -> Iterator[tuple[str, float, Callable, Callable]]:
    def plain_decode(data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB")

    for quality in qualities:
        yield "nic", quality, lambda p, q=quality: codec.encode(p, q), codec.decode
    for name in against:
        for quality in RIVALS[name][1]:
            yield name, quality, lambda p, n=name, q=quality: rival_encode(n, p, q), plain_decode


def evaluate(
    folder: Path,
    codec: Codec,
    qualities: list[float],
    against: list[str],
    done: Callable[[int, int], None] = lambda i, n: None,
) -> dict:
    """Measure ``codec`` and the rivals on the pictures in ``folder``.

    Returns ``{"images": N, "codecs": {name: [{"quality", "bpp", "psnr", "ms_ssim", "encode_s", "decode_s"}]},
    "bd_rate": {name: percent against the first of against}}``. bpp, PSNR (RGB, dB) and MS-SSIM are
    means over pictures. ``done(i, n)`` is called as pictures are finished.

    Raises:
        CodecError: for a folder without pictures, a picture that cannot be read, or an unknown rival.
    """
    unknown = [name for name in against if name not in RIVALS]
    if unknown:
        raise CodecError(f"{unknown[0]} is not one of {', '.join(RIVALS)}")
    paths = find_pictures(folder)
    jobs = list(_jobs(codec, qualities, against))
    rows = np.zeros((len(paths), len(jobs), 5))
    for i, path in enumerate(paths):
        pixels = as_picture(open_picture(path)).pixels
        picture = Image.fromarray(pixels)
        for j, (_, _, encode, decode) in enumerate(jobs):
            start = time.perf_counter()
            data = encode(picture)
            middle = time.perf_counter()
            decoded = np.asarray(decode(data))
            end = time.perf_counter()
            bpp = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
            rows[i, j] = bpp, psnr(pixels, decoded), ms_ssim(pixels, decoded), middle - start, end - middle
        done(i + 1, len(paths))
    keys = ("bpp", "psnr", "ms_ssim", "encode_s", "decode_s")
    codecs: dict[str, list[dict]] = {}
    for (name, quality, _, _), means in zip(jobs, rows.mean(axis=0), strict=True):
        point = {"quality": quality, **dict(zip(keys, (round(float(m), 5) for m in means), strict=True))}
        codecs.setdefault(name, []).append(point)
    curves = {name: [(p["bpp"], p["psnr"]) for p in points] for name, points in codecs.items()}
    first = curves[against[0]] if against else curves["nic"]
    return {
        "images": len(paths),
        "codecs": codecs,
        "bd_rate": {name: round(bd_rate(first, curve), 2) for name, curve in curves.items()},
    }
