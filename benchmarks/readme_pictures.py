"""Draws the README's pictures: ``python benchmarks/readme_pictures.py [--curves FILE ...]``.

``samples/readme/comparison.png``: a sample by JPEG and by this codec at equal bytes. With ``--curves`` (the JSON of
``codec eval``, or ``{name: {"bpp": [...], "psnr": [...]}}``) also ``samples/readme/rate_distortion.svg``.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

from PIL import Image, ImageDraw

from codec import Codec

SAMPLES = Path(__file__).parents[1] / "samples"
"""The folder of the sample pictures."""
README_PICTURES = SAMPLES / "readme"
"""The folder that the results are written to."""
SAMPLE, CROP, JPEG_QUALITY = "astronaut.png", (60, 0, 380, 230), 8
"""The compared picture; the shown part in pixels (left, top, right, bottom); and a JPEG quality with visible errors."""
LABELS = {
    "nic": "this codec",
    "vtm": "VTM",
    "avif": "AVIF 4:4:4",
    "jxl": "JPEG XL",
    "webp": "WebP",
    "jpeg": "JPEG",
}
"""For each curve that is drawn, its name in the plot."""
MAX_BPP = 2.0
"""The right end of the plot, in bits per pixel."""
Curves = dict[str, list[tuple[float, float]]]
"""Points (bpp, PSNR in dB) for each codec."""


def comparison() -> Image.Image:
    """The sample by JPEG (left) and by this codec (right), cropped and labelled."""
    picture = Image.open(SAMPLES / SAMPLE).convert("RGB")
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=JPEG_QUALITY, optimize=True)
    nic = Codec().encode_to_fit(picture, max_bytes=len(jpeg.getvalue()))
    sides = [("JPEG", len(jpeg.getvalue()), Image.open(jpeg)), ("this codec", len(nic), Codec().decode(nic))]
    width, height = CROP[2] - CROP[0], CROP[3] - CROP[1]
    sheet = Image.new("RGB", (2 * width + 8, height + 20), "white")
    for i, (name, size, image) in enumerate(sides):
        left = i * (width + 8)
        sheet.paste(image.crop(CROP), (left, 20))
        ImageDraw.Draw(sheet).text((left + 4, 4), f"{name}: {size} bytes", fill="black")
    return sheet


def read_curves(paths: list[Path]) -> Curves:
    """The curves of the codecs that have a label here."""
    curves = {}
    for path in paths:
        content = json.loads(path.read_text())
        for name, curve in content.get("codecs", content).items():
            if name in LABELS:
                is_columns = isinstance(curve, dict)
                columns = [curve[key] if is_columns else [p[key] for p in curve] for key in ("bpp", "psnr")]
                curves[name] = sorted(zip(*columns, strict=True))
    return curves


def plot(curves: Curves, path: Path) -> None:
    """Write an SVG of PSNR against bpp."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "neural-image-codec"  # the same file each time
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.6))
    for name, label in LABELS.items():
        if name in curves:
            is_ours = name == "nic"
            rates, psnrs = zip(*curves[name], strict=True)
            axes.plot(rates, psnrs, label=label, linewidth=2.5 if is_ours else 1.2, zorder=2 + is_ours)
    axes.set(xlim=(0, MAX_BPP), ylim=(24, 41), xlabel="bits per pixel (Kodak)", ylabel="PSNR (RGB, dB)")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--curves", type=Path, action="append", default=[])
    curves = read_curves(parser.parse_args().curves)
    README_PICTURES.mkdir(exist_ok=True)
    comparison().save(README_PICTURES / "comparison.png", optimize=True)
    if curves:
        plot(curves, README_PICTURES / "rate_distortion.svg")


if __name__ == "__main__":
    main()
