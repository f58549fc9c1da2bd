"""Picture files in and out, through Pillow: whatever goes wrong in one of its formats is one ``PictureError``."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from codec.errors import PictureError
from codec.pictures import png
from codec.pictures.layout import check_frames, check_layout
from codec.pictures.planes import INFO_KEYS, upright_srgb

_ORIENTATION, _TIFF_XMP = 0x0112, 700
"""TIFF tags."""
Note = Callable[[str], None]
"""Takes one line about something that a picture loses on the way in or out."""


def silent(_line: str) -> None:
    """A ``Note`` that drops what it is told."""


def open_picture(source: Path | bytes, *, first_frame: bool = False, note: Note = silent) -> Image.Image:
    """Read a picture file.

    Args:
        first_frame: take the first frame of an animation; without, animations are refused.
        note: is told what the picture loses on the way.

    Raises:
        PictureError: when it is not a readable picture.
    """
    name = source if isinstance(source, Path) else "standard input"
    try:
        file, info = _mended(source)
        with Image.open(file) as picture:
            picture.info.update(info)
            if picture.format == "PNG":
                png.mend_transparency(file.getvalue(), picture.info)
            check_frames(picture, name, first_frame, note)
            check_layout(picture, name)
            if _has_sixteen_bits(picture):
                note("16 bits a channel are rounded to 8")
            picture.load()
            return picture
    except (PictureError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise PictureError(f"{name}: not a picture in a format that Pillow reads") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{name}: too many pixels") from error
    except OSError as error:
        raise PictureError(f"{name}: {error.strerror or error}") from error
    except Exception as error:  # of any class, from whatever the parser of a format met
        raise PictureError(f"{name}: a damaged picture ({error})") from error


def _mended(source: Path | bytes) -> tuple[Any, dict[str, Any]]:
    """What Pillow is given to open, and metadata that it would not find."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            is_png = file.read(len(png.MAGIC)) == png.MAGIC
        if not is_png:
            return source, {}
        source = source.read_bytes()
    data, info = png.mend(source) if source.startswith(png.MAGIC) else (source, {})
    return io.BytesIO(data), info


def _has_sixteen_bits(picture: Any) -> bool:
    arguments = [tile.args for tile in picture.tile if hasattr(tile, "args")]
    is_wide_ppm = picture.format == "PPM" and any(type(a) is int and a > 255 for args in arguments for a in args)
    return picture.mode.startswith("I") or is_wide_ppm or any(";16" in str(args) for args in arguments)


def picture_bytes(image: Image.Image, kind: str, *, note: Note = silent, **options: object) -> bytes:
    """``image`` as a file of Pillow's format ``kind``, with as much of its metadata as that takes.

    Where the format does not keep an orientation or a colour profile, the pixels are turned and converted to sRGB.

    Args:
        note: is told what the file does not keep.
        options: Pillow's, for the format.

    Raises:
        PictureError: when the format cannot hold such a picture.
    """
    data, lost = _save(image, kind, options)
    changes = ["turned upright"] * ("exif" in lost and _orientation(image) != 1)
    changes += ["converted to sRGB"] * ("icc_profile" in lost)
    if changes:
        image = upright_srgb(image, grey=image.mode in ("L", "LA"))
        for key in lost:
            image.info.pop(key, None)
        note(f"{' and '.join(changes)}, as {kind} does not keep {' and '.join(lost)}")
        data, _ = _save(image, kind, options)
    elif lost:
        note(f"without {' and '.join(lost)}, which {kind} does not take")
    return data


def _save(image: Image.Image, kind: str, options: dict[str, object]) -> tuple[bytes, list[str]]:
    """The file, and the keys of ``Image.info`` whose metadata it does not keep."""
    image = image.copy()
    metadata = {key: image.info[key] for key in INFO_KEYS.values() if key in image.info}
    others = {key: content for key, content in image.info.items() if key not in metadata}
    reason: Exception | None = None
    # All of it, or as many kinds as the format takes.
    for keys in (choice for count in range(len(metadata), -1, -1) for choice in combinations(metadata, count)):
        subset: dict[Any, bytes] = {key: metadata[key] for key in keys}
        image.info = others | subset  # some formats take it from there, whatever options say
        buffer = io.BytesIO()
        try:
            image.save(buffer, kind, **options, **_metadata_options(subset, kind))
            kept = _kept(buffer, kind, keys)
        except MemoryError:
            raise
        except Exception as error:  # of any class: garbage as EXIF, XMP too long for JPEG, too wide for WebP
            reason = error
            continue
        return buffer.getvalue(), [key for key in metadata if key not in kept]
    raise PictureError(f"Pillow does not write this picture as {kind}: {reason}") from reason


def _kept(buffer: io.BytesIO, kind: str, keys: tuple[str, ...]) -> list[str]:
    """Those of ``keys`` whose metadata is in the file. Raises what Pillow raises for a file that it cannot open."""
    if not keys:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(buffer) as written:
            has_exif = kind == "TIFF" or _orientation(written) != 1  # in TIFF, EXIF is a part of the directory
            return [key for key in keys if written.info.get(key) or (key == "exif" and has_exif)]


def _orientation(image: Image.Image) -> int:
    """The orientation that EXIF says, 1 to 8; 1, upright, where it says nothing."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # of any class: EXIF that its parser cannot read
        return 1


def _metadata_options(metadata: dict[str, bytes], kind: str) -> dict:
    """What ``Image.save`` must be told so that a file of ``kind`` keeps ``metadata``."""
    options: dict = dict(metadata)
    if kind == "PNG" and "xmp" in options:
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode("utf-8", "replace"))
        options["pnginfo"] = chunks
    if kind == "TIFF" and "xmp" in options:
        exif = Image.Exif()  # in TIFF, all of it is one directory
        exif.load(options.get("exif") or b"")
        exif[_TIFF_XMP] = options.pop("xmp")
        options["exif"] = exif
    return options
