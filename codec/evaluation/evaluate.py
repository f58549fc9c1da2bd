"""Rate-distortion over a folder: every byte of a real file counted, every pixel of its decoding compared."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from codec.api import Codec
from codec.errors import CodecError
from codec.evaluation.anchors import RIVALS, check_rivals, rival_decode, rival_encode
from codec.evaluation.bd_rate import bd_rate
from codec.metrics import ms_ssim, psnr
from codec.pictures.files import open_picture
from codec.pictures.planes import as_picture

FIGURES = ("bpp", "psnr", "ms_ssim", "encode_s", "decode_s")
METRICS = ("psnr", "ms_ssim")


class Job(NamedTuple):
    """One codec at one quality."""

    codec: str
    quality: float
    encode: Callable[[Image.Image], bytes]
    decode: Callable[[bytes], Image.Image]


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


def _jobs(codec: Codec, qualities: list[float], against: list[str], effort: int | None) -> Iterator[Job]:
    for quality in qualities:
        yield Job("nic", quality, lambda p, q=quality: codec.encode(p, q, effort=effort), codec.decode)
    for name in against:
        for quality in RIVALS[name].qualities:
            yield Job(name, quality, lambda p, n=name, q=quality: rival_encode(n, p, q), rival_decode)


def measure(path: Path, jobs: list[Job]) -> np.ndarray:
    """The ``FIGURES`` (jobs, 5) of one picture. Raises CodecError when it cannot be read or coded."""
    pixels = as_picture(open_picture(path, first_frame=True)).pixels
    picture = Image.fromarray(pixels)
    rows = []
    for job in jobs:
        start = time.perf_counter()
        data = job.encode(picture)
        middle = time.perf_counter()
        decoded = np.asarray(job.decode(data))
        end = time.perf_counter()
        bpp = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
        rows.append((bpp, psnr(pixels, decoded), ms_ssim(pixels, decoded), middle - start, end - middle))
    return np.array(rows)


def read_reference(path: Path) -> dict[str, list[dict]]:
    """Published curves: ``{name: {"bpp": [...], "psnr": [...], ...}}`` as points. Raises CodecError."""
    try:
        curves = json.loads(path.read_text(encoding="utf-8"))
        found = {}
        for name, columns in curves.items():
            known = {key: [float(v) for v in columns[key]] for key in ("bpp", *METRICS) if key in columns}
            found[name] = [dict(zip(known, values, strict=True)) for values in zip(*known.values(), strict=True)]
            if not {"bpp", "psnr"} <= set(known) or not all(p["bpp"] > 0 for p in found[name]):
                raise ValueError(name)
    except OSError as error:
        raise CodecError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CodecError(f'{path}: not curves of the form {{"name": {{"bpp": [...], "psnr": [...]}}}}') from error
    return found


def _curve(points: list[dict], metric: str) -> list[tuple[float, float]]:
    return [(p["bpp"], p[metric]) for p in points if p.get(metric) is not None]


def bd_rates(codecs: dict[str, list[dict]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """``[metric][anchor][name]``: how many percent more bits ``name`` needs; None without a common range."""
    return {
        metric: {
            anchor: {
                name: _number(bd_rate(_curve(reference, metric), _curve(points, metric)), 2)
                for name, points in codecs.items()
            }
            for anchor, reference in codecs.items()
        }
        for metric in METRICS
    }


def _number(value: float, digits: int = 5) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None


def evaluate(
    folder: Path,
    codec: Codec,
    qualities: list[float],
    against: list[str],
    *,
    references: dict[str, list[dict]] | None = None,
    effort: int | None = None,
    workers: int = 1,
    done: Callable[[int, int], None] = lambda i, n: None,
) -> dict:
    """Measure ``codec`` and the rivals on the pictures in ``folder``, ``workers`` pictures at a time.

    ``effort`` is for ``Codec.encode``.

    Returns ``{"images": N, "codecs": {name: [{"quality", "bpp", "psnr", "ms_ssim", "encode_s", "decode_s"}]},
    "bd_rate": {name: percent against the first of against}, "bd_rates": see bd_rates, "references": as given,
    "pictures": [{"picture", "codec", "quality", ...}]}``. bpp, PSNR (RGB, dB) and MS-SSIM are means over
    pictures; None stands for what is not defined. ``done(i, n)`` is called as pictures are finished.

    Raises:
        CodecError: for a folder without pictures, a picture that cannot be read, or an unknown rival.
    """
    check_rivals(against)
    paths = find_pictures(folder)
    jobs = list(_jobs(codec, qualities, against, effort))
    ramp = np.arange(3 << 12, dtype=np.uint32).astype(np.uint8).reshape(64, 64, 3)
    codec.decode(codec.encode(ramp, fallback=False))  # the first picture's time must not hold the model's loading
    rows = []
    with ThreadPoolExecutor(workers) as pool:
        for i, found in enumerate(pool.map(lambda path: measure(path, jobs), paths)):
            rows.append(found)
            done(i + 1, len(paths))
    figures = np.array(rows)  # (pictures, jobs, figures)
    codecs: dict[str, list[dict]] = {}
    for job, means in zip(jobs, figures.mean(axis=0), strict=True):
        point = {"quality": job.quality, **dict(zip(FIGURES, map(_number, means), strict=True))}
        codecs.setdefault(job.codec, []).append(point)
    pairs = bd_rates({**codecs, **(references or {})})
    anchor = against[0] if against else "nic"
    return {
        "images": len(paths),
        "codecs": codecs,
        "bd_rate": pairs["psnr"][anchor],
        "bd_rates": pairs,
        "references": references or {},
        "pictures": [
            {
                "picture": path.name,
                "codec": job.codec,
                "quality": job.quality,
                **dict(zip(FIGURES, map(_number, values), strict=True)),
            }
            for path, of_picture in zip(paths, figures, strict=True)
            for job, values in zip(jobs, of_picture, strict=True)
        ],
    }
