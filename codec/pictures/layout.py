"""What a picture file holds beside one plain picture: further frames, and layouts that Pillow does not read rightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codec.errors import PictureError

_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _DNG_VERSION = 254, 258, 262, 50706
"""TIFF tags."""
_REDUCED = 1
"""The bit of the subfile type that says that a directory holds a reduced picture."""
_PHOTOMETRIC_READ = (0, 1, 2, 3, 5, 6, 8)
"""White is zero, black is zero, RGB, palette, CMYK, YCbCr, Lab: the interpretations that Pillow reads."""


def check_frames(picture: Any, name: Any, first_frame: bool, note: Callable[[str], None]) -> None:
    """Take the first frame of a file of several where that is the picture; refuse animations and documents.

    Second pictures of phones and cameras (MPF), layers, and pages that are smaller than the first one, which are
    thumbnails, are left out.

    Raises:
        PictureError: for an animation or a document of several pages, without ``first_frame``.
    """
    frames = getattr(picture, "n_frames", 1)
    if frames == 1 or picture.format == "PSD":  # of a PSD, Pillow counts the layers and loads the whole
        return
    if first_frame or picture.format == "MPO" or _has_thumbnails_alone(picture, frames):
        note(f"the first of {frames} {'frames' if first_frame else 'pictures'}")
        return
    kind = "a document of {} pages" if picture.format == "TIFF" else "an animation of {} frames"
    raise PictureError(f"{name}: {kind.format(frames)} (--first-frame takes the first)")


def _has_thumbnails_alone(picture: Any, frames: int) -> bool:
    if picture.format != "TIFF":
        return False
    width, height = picture.size
    sizes = []
    for frame in range(1, frames):
        picture.seek(frame)
        sizes.append(picture.size)
    picture.seek(0)
    return all(2 * w <= width and 2 * h <= height for w, h in sizes)


def check_layout(picture: Any, name: Any) -> None:
    """Refuse files whose pixels Pillow would get wrong without a word.

    Raises:
        PictureError: for a raw camera file, whose first picture is a thumbnail, and for layouts of TIFF that are not
            read rightly.
    """
    if picture.format != "TIFF":
        return
    tags = picture.tag_v2
    if _DNG_VERSION in tags or tags.get(_SUBFILE_TYPE, 0) & _REDUCED or _is_canon_raw(picture):
        raise PictureError(f"{name}: a raw camera file: develop it to a picture first")
    bits = tags.get(_BITS, (1,))
    reads_wide = picture.mode[0] in "IF" or all(";16" in str(tile.args) for tile in picture.tile)
    if max(bits) > 8 and not reads_wide and picture.tile[0].codec_name == "raw":
        raise PictureError(f"{name}: a TIFF of {max(bits)} bits in a layout that Pillow does not read rightly")
    if tags.get(_PHOTOMETRIC, 1) not in _PHOTOMETRIC_READ:
        raise PictureError(f"{name}: a TIFF with a photometric interpretation that Pillow does not read")


def _is_canon_raw(picture: Any) -> bool:
    file = picture.fp
    position = file.tell()
    file.seek(8)
    is_raw = file.read(2) == b"CR"
    file.seek(position)
    return is_raw
