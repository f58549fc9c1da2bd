"""Rate and distortion over a folder: every byte of a real file counted, every pixel of its decoding compared."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from codec.api import Codec
from codec.errors import CodecError, PictureError
from codec.evaluation.anchors import ANCHORS, check_anchors, decode_anchor, encode_anchor
from codec.evaluation.bd_rate import bd_rate, check_bd_rate
from codec.metrics import ms_ssim, psnr
from codec.pictures.files import open_picture
from codec.pictures.planes import as_picture

FIGURES = ("bpp", "psnr", "ms_ssim", "encode_s", "decode_s")
METRICS = ("psnr", "ms_ssim")
"""The figures that BD-rates are computed for."""
Point = dict[str, Any]
"""A point of a curve: "quality" and ``FIGURES``; None for what is not defined."""


class Job(NamedTuple):
    """One codec at one quality."""

    codec: str
    quality: float
    encode: Callable[[Image.Image], bytes]
    decode: Callable[[bytes], Image.Image]


def evaluate(
    folder: Path,
    codec: Codec,
    qualities: list[float],
    against: list[str],
    *,
    references: dict[str, list[Point]] | None = None,
    effort: int | None = None,
    workers: int = 1,
    done: Callable[[int, int], None] = lambda i, n: None,
) -> dict[str, Any]:
    """Measure ``codec`` and the anchors on the pictures in ``folder``, ``workers`` pictures at a time.

    Args:
        qualities: of ``codec``, each from 0 to 100.
        against: names of ``ANCHORS``.
        references: published curves, see ``read_reference``.
        effort: as for ``Codec.encode``.
        done: called with i and n when i of n pictures are finished.

    Returns:
        ``{"images": N, "codecs": {name: [{"quality", "bpp", "psnr", "ms_ssim", "encode_s", "decode_s"}]},
        "bd_rate": {name: percent against the first of against}, "bd_rates": see bd_rates, "references": as given,
        "pictures": [{"picture", "codec", "quality", ...}]}``. bpp, PSNR (RGB, dB) and MS-SSIM are means over
        pictures; None stands for what is not defined.

    Raises:
        CodecError: for a folder without pictures, a picture that cannot be read, an unknown anchor, or a package that
            is missing.
    """
    check_anchors(against)
    if against or references:
        check_bd_rate()
    paths = find_pictures(folder)
    jobs = list(_jobs(codec, qualities, against, effort))
    _load_model(codec)
    rows = []
    with ThreadPoolExecutor(workers) as pool:
        for i, row in enumerate(pool.map(lambda path: measure(path, jobs), paths)):
            rows.append(row)
            done(i + 1, len(paths))
    figures = np.array(rows)  # (pictures, jobs, figures)
    curves: dict[str, list[Point]] = {}
    for job, means in zip(jobs, figures.mean(axis=0), strict=True):
        curves.setdefault(job.codec, []).append(_point(job, means))
    rates = bd_rates({**curves, **(references or {})})
    return {
        "images": len(paths),
        "codecs": curves,
        "bd_rate": rates["psnr"][against[0] if against else "nic"],
        "bd_rates": rates,
        "references": references or {},
        "pictures": [
            {"picture": path.name, "codec": job.codec, **_point(job, values)}
            for path, row in zip(paths, figures, strict=True)
            for job, values in zip(jobs, row, strict=True)
        ],
    }


def find_pictures(folder: Path) -> list[Path]:
    """The picture files directly in ``folder``. Raises PictureError when there are none."""
    extensions = set(Image.registered_extensions())
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in extensions)
    except OSError as error:
        raise PictureError(f"{folder}: {error.strerror}") from error
    if not paths:
        raise PictureError(f"{folder}: holds no pictures")
    return paths


def measure(path: Path, jobs: list[Job]) -> np.ndarray:
    """The ``FIGURES`` (jobs, 5) of one picture. Raises CodecError when it cannot be read or coded."""
    pixels = as_picture(open_picture(path, first_frame=True)).pixels
    picture = Image.fromarray(pixels)
    rows = []
    for job in jobs:
        start = time.perf_counter()
        data = job.encode(picture)
        encoded = time.perf_counter()
        decoded_pixels = np.asarray(job.decode(data))
        decoded = time.perf_counter()
        bpp = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
        quality = psnr(pixels, decoded_pixels), ms_ssim(pixels, decoded_pixels)
        rows.append((bpp, *quality, encoded - start, decoded - encoded))
    return np.array(rows)


def read_reference(path: Path) -> dict[str, list[Point]]:
    """Published curves: ``{name: {"bpp": [...], "psnr": [...], ...}}`` as points. Raises CodecError."""
    try:
        curves = json.loads(path.read_text(encoding="utf-8"))
        references = {}
        for name, columns in curves.items():
            known = {key: [float(v) for v in columns[key]] for key in ("bpp", *METRICS) if key in columns}
            points = [dict(zip(known, values, strict=True)) for values in zip(*known.values(), strict=True)]
            if not {"bpp", "psnr"} <= set(known) or not all(point["bpp"] > 0 for point in points):
                raise ValueError(name)
            references[name] = points
    except OSError as error:
        raise CodecError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CodecError(f'{path}: not curves of the form {{"name": {{"bpp": [...], "psnr": [...]}}}}') from error
    return references


def bd_rates(curves: dict[str, list[Point]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """``[metric][anchor][name]``: how many percent more bits ``name`` needs; None without a common range."""

    def rate(metric: str, anchor: list[Point], test: list[Point]) -> float | None:
        if test is anchor:
            return 0.0
        return _number(bd_rate(_curve(anchor, metric), _curve(test, metric)), 2)

    return {
        metric: {
            anchor: {name: rate(metric, reference, points) for name, points in curves.items()}
            for anchor, reference in curves.items()
        }
        for metric in METRICS
    }


def _jobs(codec: Codec, qualities: list[float], against: list[str], effort: int | None) -> Iterator[Job]:
    for quality in qualities:
        yield Job("nic", quality, partial(codec.encode, quality=quality, effort=effort), codec.decode)
    for name in against:
        for quality in ANCHORS[name].qualities:
            yield Job(name, quality, partial(encode_anchor, name, quality=quality), decode_anchor)


def _load_model(codec: Codec) -> None:
    """Encode and decode a small picture, so that the first picture's times do not contain the model's loading."""
    ramp = np.arange(3 << 12, dtype=np.uint32).astype(np.uint8).reshape(64, 64, 3)
    codec.decode(codec.encode(ramp, fallback=False))


def _point(job: Job, values: np.ndarray) -> Point:
    return {"quality": job.quality, **dict(zip(FIGURES, map(_number, values), strict=True))}


def _curve(points: list[Point], metric: str) -> list[tuple[float, float]]:
    return [(point["bpp"], point[metric]) for point in points if point.get(metric) is not None]


def _number(value: float, digits: int = 5) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None
