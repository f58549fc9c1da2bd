"""Picture files in and out, through Pillow: whatever goes wrong in one of its formats is one ``PictureError``."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from codec.errors import PictureError
from codec.pictures.planes import INFO_KEYS

_TIFF_XMP = 700
"""The TIFF tag that holds XMP."""
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
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as picture:
            frames = getattr(picture, "n_frames", 1)
            if frames > 1 and not first_frame:
                raise PictureError(f"{name}: an animation of {frames} frames (--first-frame takes the first)")
            if frames > 1:
                note(f"the first of {frames} frames")
            sixteen_bits = any(";16" in str(tile.args) for tile in picture.tile if hasattr(tile, "args"))
            if sixteen_bits or picture.mode.startswith("I"):
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


def picture_bytes(image: Image.Image, kind: str, *, note: Note = silent, **options: object) -> bytes:
    """``image`` as a file of Pillow's format ``kind``, with as much of its metadata as that takes.

    Args:
        image: its ``info`` is left without what the file could not hold.
        note: is told what that was.
        options: Pillow's, for the format.

    Raises:
        PictureError: when the format cannot hold such a picture.
    """
    metadata = {name: image.info[name] for name in INFO_KEYS.values() if name in image.info}
    others = {name: content for name, content in image.info.items() if name not in metadata}
    # All of it, or as many kinds as the format takes.
    for names in (choice for count in range(len(metadata), -1, -1) for choice in combinations(metadata, count)):
        subset: dict[Any, bytes] = {name: metadata[name] for name in names}
        image.info = others | subset  # some formats take it from there, whatever options say
        buffer = io.BytesIO()
        try:
            image.save(buffer, kind, **options, **_metadata_options(subset, kind))
        except MemoryError:
            raise
        except Exception as error:  # of any class: garbage as EXIF, XMP too long for JPEG, too wide for WebP
            reason = error
            continue
        if lost := [name for name in metadata if name not in names]:
            note(f"without {' and '.join(lost)}, which {kind} does not take")
        return buffer.getvalue()
    raise PictureError(f"Pillow does not write this picture as {kind}: {reason}") from reason


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
