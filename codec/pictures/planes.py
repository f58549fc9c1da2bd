"""Pictures as a file holds them: planes of 8 bits and metadata, from Pillow's many modes and back."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageCms, ImageOps

from codec.errors import ArgumentError, PictureError

_EXIF_PREFIX = b"Exif\x00\x00"
"""Pillow puts it before EXIF; the file goes without."""
INFO_KEYS = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}
"""The key of each kind of metadata in ``Image.info``."""
_GREY_MODES = ("1", "L", "LA", "La")


@dataclass
class Picture:
    """What a file holds.

    Attributes:
        pixels: uint8 (H, W, 3), with equal channels where ``grey``.
        alpha: uint8 (H, W), or None for an opaque picture.
        metadata: the bytes of "icc", "exif" and "xmp", where there are any.
    """

    pixels: np.ndarray
    grey: bool = False
    alpha: np.ndarray | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)

    def image(self) -> Image.Image:
        """A Pillow image of mode RGB, RGBA, L or LA, with the metadata in its ``info``."""
        image = Image.fromarray(np.ascontiguousarray(self.pixels[..., 0] if self.grey else self.pixels))
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        image.info.update(pillow_info(self.metadata))
        return image


def pillow_info(metadata: dict[str, bytes]) -> dict[str, bytes]:
    """Metadata under the keys, and in the form, that Pillow has for it in ``Image.info``."""
    return {INFO_KEYS[name]: (_EXIF_PREFIX if name == "exif" else b"") + content for name, content in metadata.items()}


def as_picture(image: Image.Image | np.ndarray, strip: bool = False) -> Picture:
    """The planes and metadata of an image, or of an array (H, W, 3) or (H, W) of uint8.

    Colours beyond RGB and grey (CMYK, Lab) become sRGB through their profile.

    Args:
        strip: leave the metadata out, and apply the orientation and the colour profile that it said.

    Raises:
        ArgumentError: for an array of another shape or type.
        PictureError: for an image without pixels, or with values beyond 16 bits.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if not all(image.size):
        raise PictureError("the picture has no pixels")
    metadata = _metadata(image)
    if image.mode == "F" or image.mode.startswith("I"):
        opacity = _opacity(image)
        image = _to_eight_bits(image)
        if opacity is not None:
            image.putalpha(opacity)
    if image.mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa"):
        image = _to_srgb(image, "RGB")
        metadata.pop("icc", None)
    if image.mode == "La":
        image = image.convert("LA")
    grey = image.mode in _GREY_MODES
    if "transparency" in image.info or image.mode in ("PA", "La", "RGBa"):
        image = image.convert("RGBA")
    if strip:
        image, metadata = upright_srgb(image, grey), {}
    alpha = np.asarray(image.getchannel("A")) if "A" in image.getbands() else None
    if alpha is not None and alpha.min() == 255:
        alpha = None
    if grey:
        image = image.convert("L")
    # Converted only where needed: that is another copy of a large picture.
    return Picture(np.asarray(image if image.mode == "RGB" else image.convert("RGB")), grey, alpha, metadata)


def _from_array(array: np.ndarray) -> Picture:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or not array.size:
        raise ArgumentError(f"an array {array.shape} of {array.dtype}: expected (H, W, 3) or (H, W) of uint8")
    grey = array.ndim == 2
    return Picture(np.repeat(array[:, :, None], 3, axis=2) if grey else array, grey)


def _metadata(image: Image.Image) -> dict[str, bytes]:
    metadata = {}
    for name, key in INFO_KEYS.items():
        content = image.info.get(key)
        if isinstance(content, bytes) and content.removeprefix(_EXIF_PREFIX):
            metadata[name] = content.removeprefix(_EXIF_PREFIX)
    return metadata


def _to_srgb(image: Image.Image, mode: str) -> Image.Image:
    """To sRGB of ``mode`` through the image's own profile, or as Pillow converts where that cannot be read."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile that cannot be read says nothing about the colours
    return image.convert(mode)


def upright_srgb(image: Image.Image, grey: bool) -> Image.Image:
    """Upright and in sRGB (grey or RGB, with its alpha), so that it looks the same without its metadata."""
    mode = "L" if grey else "RGB"
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # of any class: EXIF that its parser cannot read says nothing about the orientation
        upright = image
    if upright.info.get("icc_profile"):
        alpha = upright.getchannel("A") if "A" in upright.getbands() else None
        upright = _to_srgb(upright.convert(mode), mode)
        if alpha is not None:
            upright.putalpha(alpha)
    return upright


def _opacity(image: Image.Image) -> Image.Image | None:
    """The alpha of grey of 16 bits, one value of which is transparent; None where none is."""
    value = image.info.get("transparency")
    if not isinstance(value, int):
        return None
    return Image.fromarray(np.where(np.asarray(image) == value, np.uint8(0), np.uint8(255)))


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (or of 32, with values of up to 16) to 8."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise PictureError(f"pictures of mode {image.mode} with values beyond 16 bits are not supported")
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))
