"""Pictures in: Pillow's many modes, and arrays, to pixels that the transform takes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from codec.errors import CodecError, FormatError


def open_picture(source: Path | bytes) -> Image.Image:
    """Read a picture file, upright and in sRGB. Raises CodecError when it is not a readable picture."""
    name = source if isinstance(source, Path) else "standard input"
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as picture:
            picture.load()
            return _to_srgb(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError as error:
        raise CodecError(f"{name}: not a picture in a format that Pillow reads") from error
    except Image.DecompressionBombError as error:
        raise CodecError(f"{name}: too many pixels") from error
    except OSError as error:
        raise CodecError(f"{name}: {error.strerror or error}") from error
    except (ValueError, SyntaxError, EOFError) as error:
        raise CodecError(f"{name}: a damaged picture ({error})") from error


def _to_srgb(picture: Image.Image) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "CMYK"):
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture  # a profile that cannot be read says nothing about the colours


def as_pixels(image: Image.Image | np.ndarray) -> tuple[np.ndarray, bool]:
    """Pixels (H, W, 3) uint8, and whether they are grey. Raises FormatError for what cannot be encoded."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or not image.size:
            raise FormatError(f"an array {image.shape} of {image.dtype}: expected (H, W, 3) or (H, W) of uint8")
        grey = image.ndim == 2
        return (np.repeat(image[:, :, None], 3, axis=2) if grey else image), grey
    if "A" in image.getbands() or "transparency" in image.info:
        lowest = image.convert("RGBA").getchannel("A").getextrema()[0]
        if lowest < 255:
            raise FormatError("the picture is transparent in places; this format version keeps no alpha")
    if image.mode.startswith("I") or image.mode == "F":
        raise FormatError(f"pictures of mode {image.mode} (over 8 bits) are not supported; convert to 8 bits first")
    grey = image.mode in ("1", "L", "LA")
    return np.asarray(image.convert("L").convert("RGB") if grey else image.convert("RGB")), grey
