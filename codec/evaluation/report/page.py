"""The report page: a summary in words, the figures, and pictures at equal bytes."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from codec.api import Codec
from codec.errors import LimitError
from codec.evaluation.anchors import ANCHORS, decode_anchor, encode_anchor
from codec.metrics import psnr
from codec.pictures.files import open_picture
from codec.pictures.planes import as_picture

TEMPLATE = Path(__file__).parent / "page.html"
_MAX_SIDE = 1024
"""Pictures are cropped to this many pixels on a side: the page holds them without loss."""


class Side(NamedTuple):
    """One side of a comparison: a decoded picture."""

    codec: str
    bytes: int
    psnr: float
    source: str  # a data URL


class Comparison(NamedTuple):
    """A picture by another codec (left) and by this one (right) at equal bytes."""

    name: str
    left: Side
    right: Side


def _data_url(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def compare(path: Path, codec: Codec, anchor: str, effort: int | None = None) -> Comparison | None:
    """A picture by ``anchor`` and by ``codec`` at equal bytes; None where no common size is found.

    The anchor's qualities are tried from the lowest but one upwards: that is where a difference is seen.
    """
    pixels = as_picture(open_picture(path, first_frame=True)).pixels[:_MAX_SIDE, :_MAX_SIDE]
    picture = Image.fromarray(pixels)
    for quality in ANCHORS[anchor].qualities[1:]:
        theirs = encode_anchor(anchor, picture, quality)
        try:
            ours = codec.encode_to_fit(picture, max_bytes=len(theirs), effort=effort)
        except LimitError:
            continue
        sides = []
        for name, data, decode in ((anchor, theirs, decode_anchor), ("nic", ours, codec.decode)):
            decoded = np.asarray(decode(data).convert("RGB"))
            sides.append(Side(name, len(data), psnr(pixels, decoded), _data_url(decoded)))
        return Comparison(path.name, *sides)
    return None


def _summary(result: dict, anchor: str | None) -> str:
    count = result["images"]
    text = f"{count} picture{'s' * (count != 1)}, every byte of real files counted, PSNR over RGB. "
    rates = result["bd_rates"]["psnr"]
    comparisons = []
    for name in rates:
        percent = rates[name].get("nic")
        if name != "nic" and percent is not None:
            comparisons.append(f"{abs(percent):.0f} % {'fewer' if percent < 0 else 'more'} bits than {name}")
    if comparisons:
        text += f"At equal PSNR, nic needs {', '.join(comparisons)}. "
    if anchor:
        text += f"The table is against {anchor}; figures are Bjontegaard delta rates. "
    for name in result["codecs"]:
        if name in ANCHORS and ANCHORS[name].settings:
            settings = ", ".join(f"{key}={value}" for key, value in ANCHORS[name].settings.items())
            text += f"Settings of {name}: {settings}. "
    return text + "Times are of one thread, model loaded, several pictures at a time."


def report(result: dict, anchor: str | None, comparisons: list[Comparison]) -> str:
    """The page for a result of ``codec.evaluation.evaluate.evaluate``; BD-rates in its table are against ``anchor``."""
    rates = result["bd_rates"]
    base = anchor or "nic"
    content = {
        "summary": _summary(result, anchor),
        "rates": [[name, rates["psnr"][base][name], rates["ms_ssim"][base][name]] for name in rates["psnr"]],
        "curves": {**result["codecs"], **result["references"]},
        "pictures": [{"name": c.name, "left": c.left._asdict(), "right": c.right._asdict()} for c in comparisons],
    }
    # "</script>" or "<!--" in a name must not end the element that holds the data.
    data = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", data)
