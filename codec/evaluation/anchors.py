"""Other codecs that Pillow writes, with the settings that serve them best, to compare with."""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass, field

from PIL import Image

from codec.errors import CodecError


@dataclass(frozen=True)
class Rival:
    """A codec: its format in Pillow, the qualities to try (dB for JPEG 2000), settings, and what must be imported."""

    pillow_format: str
    qualities: tuple[int, ...]
    settings: dict = field(default_factory=dict)
    plugin: str | None = None


RIVALS = {
    "jpeg": Rival("JPEG", (5, 10, 20, 30, 45, 65, 85, 93), {"optimize": True, "progressive": True}),
    "webp": Rival("WEBP", (1, 10, 30, 50, 70, 85, 95), {"method": 6}),
    "avif": Rival("AVIF", (15, 25, 40, 50, 60, 70, 80, 90), {"speed": 4, "subsampling": "4:4:4"}),
    "jxl": Rival("JXL", (10, 25, 40, 55, 70, 80, 90), {"effort": 7}, plugin="pillow_jxl"),
    "jpeg2000": Rival("JPEG2000", (24, 28, 32, 36, 40, 44), {"quality_mode": "dB", "irreversible": True}),
}


def check_rivals(names: list[str]) -> None:
    """Raise CodecError for a name that is not in ``RIVALS``, or a codec that is not installed here."""
    for name in names:
        if name not in RIVALS:
            raise CodecError(f"{name} is not one of {', '.join(RIVALS)}")
        rival_encode(name, Image.new("RGB", (16, 16)), RIVALS[name].qualities[0])


def rival_encode(name: str, picture: Image.Image, quality: int) -> bytes:
    """Encode ``picture`` with one of ``RIVALS``. Raises CodecError where Pillow here cannot."""
    rival = RIVALS[name]
    wanted = {"quality_layers": [quality]} if name == "jpeg2000" else {"quality": quality}
    buffer = io.BytesIO()
    try:
        if rival.plugin:
            importlib.import_module(rival.plugin)
        picture.save(buffer, rival.pillow_format, **rival.settings, **wanted)
    except ImportError as error:
        raise CodecError(f"{name} needs {rival.plugin}: pip install 'neural-image-codec[eval]'") from error
    except (OSError, KeyError, ValueError) as error:
        raise CodecError(f"Pillow here cannot write {name}: {error}") from error
    return buffer.getvalue()


def rival_decode(data: bytes) -> Image.Image:
    """Decode what ``rival_encode`` wrote, to RGB."""
    return Image.open(io.BytesIO(data)).convert("RGB")
