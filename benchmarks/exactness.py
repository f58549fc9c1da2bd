"""The cost of exact integer entropy networks: ``python benchmarks/exactness.py CHECKPOINT FOLDER``.

Compares the model's estimates of rate and distortion (``models/training/validate.py``) with integer arithmetic and with
the same networks in floating point, whose weights are not rounded. FOLDER holds pictures.
"""

from __future__ import annotations

import sys
from pathlib import Path

from codec.evaluation.bd_rate import bd_rate
from codec_models.export.export import trained_model
from codec_models.training.data import load_folder
from codec_models.training.validate import validate


def main() -> None:
    """Print both curves and the BD-rate between them."""
    checkpoint, folder = map(Path, sys.argv[1:])
    model, _ = trained_model(checkpoint)
    pictures, _ = load_folder(folder)
    points = {}
    for name, exact in (("float", False), ("exact", True)):
        rows = validate(model, pictures, exact=exact)
        points[name] = [(bpp, psnr) for _, bpp, psnr in rows]
        print(name, "  ".join(f"{bpp:.4f} bpp {psnr:.3f} dB" for bpp, psnr in points[name]))
    print(f"BD-rate of exact against float: {bd_rate(points['float'], points['exact']):+.3f} %")


if __name__ == "__main__":
    main()
