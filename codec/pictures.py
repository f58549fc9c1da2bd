"""Pictures in and out: Pillow's many modes to the planes that a file holds, and back, with their metadata."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageCms, ImageOps

from codec.errors import FormatError

_EXIF_PREFIX = b"Exif\x00\x00"
"""Pillow puts it before EXIF; the file goes without."""
PILLOW_NAMES = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}
"""Where in ``Image.info`` each kind of metadata is."""


@dataclass
class Picture:
    """What a file holds: planes of 8 bits, and metadata byte for byte.

    ``pixels`` is uint8 (H, W, 3), with equal channels where ``grey``; ``alpha`` uint8 (H, W) or None;
    ``metadata`` maps "icc", "exif" and "xmp" to their bytes.
    """

    pixels: np.ndarray
    grey: bool = False
    alpha: np.ndarray | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)

    def image(self) -> Image.Image:
        """As a Pillow image of mode RGB, RGBA, L or LA, with the metadata where Pillow keeps it."""
        colours = Image.fromarray(np.ascontiguousarray(self.pixels[..., 0] if self.grey else self.pixels))
        if self.alpha is not None:
            colours.putalpha(Image.fromarray(self.alpha))
        colours.info.update(self.info_of(self.metadata))
        return colours

    @staticmethod
    def info_of(metadata: dict[str, bytes]) -> dict[str, bytes]:
        """``metadata`` under the names, and in the form, that Pillow has for them in ``Image.info``."""
        return {
            PILLOW_NAMES[name]: (_EXIF_PREFIX if name == "exif" else b"") + content
            for name, content in metadata.items()
        }


def _converted(picture: Image.Image, target: str) -> Image.Image:
    """To sRGB (mode ``target``) through the picture's own profile, or as Pillow does where that cannot be read."""
    profile = picture.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            found = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode=target)
            if found is not None:
                return found
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile that cannot be read says nothing about the colours
    return picture.convert(target)


def _metadata(picture: Image.Image) -> dict[str, bytes]:
    found = {}
    for name, key in PILLOW_NAMES.items():
        content = picture.info.get(key)
        if isinstance(content, bytes) and content.removeprefix(_EXIF_PREFIX):
            found[name] = content.removeprefix(_EXIF_PREFIX)
    return found


def _stripped(picture: Image.Image, mode: str) -> Image.Image:
    """Upright and in sRGB, so that it looks the same without its metadata."""
    try:
        upright = ImageOps.exif_transpose(picture)
    except Exception:  # of any class, from whatever the parser met: EXIF like that says nothing about the orientation
        upright = picture
    if mode in ("RGB", "L") and upright.info.get("icc_profile"):
        alpha = upright.getchannel("A") if "A" in upright.getbands() else None
        upright = _converted(upright.convert(mode), mode)
        if alpha is not None:
            upright.putalpha(alpha)
    return upright


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits (or 32, as far as they hold 16) to 8."""
    values = np.asarray(picture).astype(np.float64)
    if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise FormatError(f"pictures of mode {picture.mode} with values beyond 16 bits are not supported")
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def as_picture(image: Image.Image | np.ndarray, strip: bool = False) -> Picture:
    """The planes and metadata of an image, or of an array (H, W, 3) or (H, W) of uint8.

    With ``strip`` the metadata is left out, and orientation and colours are made what they said.
    Colours beyond RGB and grey (CMYK, Lab) become sRGB through their profile.

    Raises:
        FormatError: for what cannot be encoded.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or not image.size:
            raise FormatError(f"an array {image.shape} of {image.dtype}: expected (H, W, 3) or (H, W) of uint8")
        grey = image.ndim == 2
        return Picture(np.repeat(image[:, :, None], 3, axis=2) if grey else image, grey)
    if not all(image.size):
        raise FormatError("the picture has no pixels")
    metadata = _metadata(image)
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa"):
        image = _converted(image, "RGB")
        metadata.pop("icc", None)
    grey = image.mode in ("1", "L", "LA", "La")
    if "transparency" in image.info or image.mode in ("PA", "La", "RGBa"):
        image = image.convert("RGBA")
    if strip:
        image, metadata = _stripped(image, "L" if grey else "RGB"), {}
    alpha = np.asarray(image.getchannel("A")) if "A" in image.getbands() else None
    if alpha is not None and alpha.min() == 255:
        alpha = None
    if grey:
        image = image.convert("L")
    # Not converted without need: that would be another copy of a large picture.
    return Picture(np.asarray(image if image.mode == "RGB" else image.convert("RGB")), grey, alpha, metadata)
