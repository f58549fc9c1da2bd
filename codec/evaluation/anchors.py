"""Anchors: other codecs, through Pillow, with fixed settings."""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass, field

from PIL import Image

from codec.errors import ArgumentError, CodecError, MissingPackageError


@dataclass(frozen=True)
class Anchor:
    """A codec to compare with.

    Attributes:
        pillow_format: the name of its format in Pillow.
        qualities: its own quality settings that are tried; decibels for JPEG 2000.
        settings: options for ``Image.save``.
        plugin: the module that registers it with Pillow, where Pillow itself does not.
    """

    pillow_format: str
    qualities: tuple[int, ...]
    settings: dict = field(default_factory=dict)
    plugin: str | None = None


ANCHORS = {
    "jpeg": Anchor("JPEG", (5, 10, 20, 30, 45, 65, 85, 93), {"optimize": True, "progressive": True}),
    "webp": Anchor("WEBP", (1, 10, 30, 50, 70, 85, 95), {"method": 6}),
    "avif": Anchor("AVIF", (15, 25, 40, 50, 60, 70, 80, 90), {"speed": 4, "subsampling": "4:4:4"}),
    "jxl": Anchor("JXL", (10, 25, 40, 55, 70, 80, 90), {"effort": 7}, plugin="pillow_jxl"),
    "jpeg2000": Anchor("JPEG2000", (24, 28, 32, 36, 40, 44), {"quality_mode": "dB", "irreversible": True}),
}


def check_anchors(names: list[str]) -> None:
    """Check that each of ``names`` can be encoded here.

    Raises:
        ArgumentError: for a name that is not in ``ANCHORS``.
        MissingPackageError, CodecError: for a codec that is not installed here.
    """
    for name in names:
        if name not in ANCHORS:
            raise ArgumentError(f"{name} is not one of {', '.join(ANCHORS)}")
        encode_anchor(name, Image.new("RGB", (16, 16)), ANCHORS[name].qualities[0])


def encode_anchor(name: str, picture: Image.Image, quality: int) -> bytes:
    """Encode ``picture`` with one of ``ANCHORS``. Raises CodecError when it cannot be done here."""
    anchor = ANCHORS[name]
    quality_option = {"quality_layers": [quality]} if name == "jpeg2000" else {"quality": quality}
    buffer = io.BytesIO()
    try:
        if anchor.plugin:
            importlib.import_module(anchor.plugin)
        picture.save(buffer, anchor.pillow_format, **anchor.settings, **quality_option)
    except ImportError as error:
        raise MissingPackageError(f"{name} needs {anchor.plugin}: pip install 'neural-image-codec[eval]'") from error
    except (OSError, KeyError, ValueError) as error:
        raise CodecError(f"Pillow here cannot write {name}: {error}") from error
    return buffer.getvalue()


def decode_anchor(data: bytes) -> Image.Image:
    """Decode what ``encode_anchor`` wrote, to RGB."""
    return Image.open(io.BytesIO(data)).convert("RGB")
