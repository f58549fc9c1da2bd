"""Draws what the README shows: ``python benchmarks/readme_pictures.py``.

``samples/readme/comparison.png``: a sample by this codec and by JPEG at equal bytes. With ``--curves FILE``
(repeated; the JSON of ``codec eval``, or ``{name: {"bpp": [...], "psnr": [...]}}``) also
``samples/readme/rate_distortion.svg``.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

from PIL import Image, ImageDraw

from codec import Codec

SAMPLES = Path(__file__).parents[1] / "samples"
PICTURES = SAMPLES / "readme"
SAMPLE, CROP, JPEG_QUALITY = "astronaut.png", (60, 0, 380, 230), 8
STYLES = {
    "nic": ("this codec", "#d62728"),
    "jpeg": ("JPEG", "#7f7f7f"),
    "webp": ("WebP", "#2ca02c"),
    "jxl": ("JPEG XL", "#9467bd"),
    "avif": ("AVIF 4:4:4", "#1f77b4"),
    "vtm": ("VTM", "#8c564b"),
}
LARGEST_BPP = 2.0


def comparison() -> Image.Image:
    """The sample by JPEG (left) and by this codec (right), cut to a part and labelled."""
    picture = Image.open(SAMPLES / SAMPLE).convert("RGB")
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=JPEG_QUALITY, optimize=True)
    nic = Codec().encode_to_fit(picture, max_bytes=len(jpeg.getvalue()))
    shown = [("JPEG", len(jpeg.getvalue()), Image.open(jpeg)), ("this codec", len(nic), Codec().decode(nic))]
    width, height = CROP[2] - CROP[0], CROP[3] - CROP[1]
    sheet = Image.new("RGB", (2 * width + 8, height + 20), "white")
    for place, (name, size, image) in enumerate(shown):
        left = place * (width + 8)
        sheet.paste(image.crop(CROP), (left, 20))
        ImageDraw.Draw(sheet).text((left + 4, 4), f"{name}: {size} bytes", fill="black")
    return sheet


def read_curves(paths: list[Path]) -> dict[str, list[tuple[float, float]]]:
    """Points (bpp, PSNR) of each codec that has a style here."""
    curves = {}
    for path in paths:
        content = json.loads(path.read_text())
        for name, found in content.get("codecs", content).items():
            if isinstance(found, dict):
                points = list(zip(found["bpp"], found["psnr"], strict=True))
            else:
                points = [(p["bpp"], p["psnr"]) for p in found]
            if name in STYLES:
                curves[name] = sorted(points)
    return curves


def plot(curves: dict[str, list[tuple[float, float]]]) -> str:
    """An SVG of PSNR against bpp."""
    width, height, margin = 640, 420, 50
    low, high = 24, 40

    def place(bpp: float, psnr: float) -> tuple[float, float]:
        x = margin + (width - 2 * margin) * bpp / LARGEST_BPP
        return round(x, 1), round(height - margin - (height - 2 * margin) * (psnr - low) / (high - low), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        ' font-size="13"><rect width="100%" height="100%" fill="white"/>',
        f'<clipPath id="inside"><rect x="{margin}" y="{margin}" width="{width - 2 * margin}"'
        f' height="{height - 2 * margin}"/></clipPath>',
    ]
    for psnr in range(low, high + 1, 2):
        (x1, y), (x2, _) = place(0, psnr), place(LARGEST_BPP, psnr)
        parts.append(f'<path d="M{x1} {y}H{x2}" stroke="#ddd"/><text x="{x1 - 26}" y="{y + 4}">{psnr}</text>')
    for tenth in range(0, int(LARGEST_BPP * 10) + 1, 5):
        x, y = place(tenth / 10, low)
        parts.append(f'<text x="{x - 8}" y="{y + 18}">{tenth / 10:g}</text>')
    parts.append(f'<text x="{width / 2 - 70}" y="{height - 8}">bits per pixel (Kodak)</text>')
    parts.append(f'<text x="{margin}" y="{margin - 14}">PSNR, dB</text>')
    for row, (name, points) in enumerate(curves.items()):
        label, colour = STYLES[name]
        path = " ".join(f"{x},{y}" for x, y in (place(*p) for p in points))
        thick = 3 if name == "nic" else 1.5
        parts.append(
            f'<polyline clip-path="url(#inside)" points="{path}" fill="none" stroke="{colour}" stroke-width="{thick}"/>'
        )
        y = height - margin - 20 * (len(curves) - row)
        parts.append(f'<path d="M{width - 200} {y - 4}h24" stroke="{colour}" stroke-width="{thick}"/>')
        parts.append(f'<text x="{width - 168}" y="{y}">{label}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--curves", type=Path, action="append", default=[])
    curves = read_curves(parser.parse_args().curves)
    PICTURES.mkdir(exist_ok=True)
    comparison().save(PICTURES / "comparison.png", optimize=True)
    if curves:
        (PICTURES / "rate_distortion.svg").write_text(plot(curves))


if __name__ == "__main__":
    main()
