"""Files that hold more than one plain picture, and layouts that Pillow does not read rightly."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from codec.errors import PictureError
from codec.pictures.files import open_picture
from conftest import made_picture

PICTURE = Image.fromarray(made_picture(64, 48))
THUMBNAIL = PICTURE.resize((16, 12))


def written(kind, *others, **options):
    buffer = io.BytesIO()
    copies = [other.copy() for other in others]  # a JPEG leaves its settings in the image
    PICTURE.copy().save(buffer, kind, save_all=True, append_images=copies, **options)
    return buffer.getvalue()


def tiff(bits, strips, **tags):
    """An uncompressed little-endian RGB TIFF of 64x48 pixels; ``tags`` maps t<number> to a short value."""
    entries = {256: [64], 257: [48], 258: bits, 259: [1], 262: [2], 277: [len(bits)], 278: [48]}
    entries |= {int(name[1:]): [value] for name, value in tags.items()}
    offsets = np.cumsum([8, *map(len, strips)]).tolist()
    entries |= {273: offsets[:-1], 279: [len(strip) for strip in strips]}
    after = offsets[-1] + 2 + 12 * len(entries) + 4
    table, more = b"", b""
    for tag, values in sorted(entries.items()):
        data = struct.pack(f"<{len(values)}I", *values)
        table += struct.pack("<HHI", tag, 4, len(values))
        table += data if len(data) == 4 else struct.pack("<I", after + len(more))
        more += data if len(data) > 4 else b""
    head = b"II*\0" + struct.pack("<I", offsets[-1])
    return head + b"".join(strips) + struct.pack("<H", len(entries)) + table + bytes(4) + more


@pytest.mark.parametrize("kind", ["MPO", "TIFF"])
def test_a_second_smaller_picture_is_left_out_with_a_note(kind):
    notes = []
    picture = open_picture(written(kind, THUMBNAIL), note=notes.append)
    assert picture.size == PICTURE.size and notes == ["the first of 2 pictures"]


def test_a_second_picture_of_a_camera_may_be_as_large():
    assert open_picture(written("MPO", PICTURE)).size == PICTURE.size


def test_a_document_of_pages_and_an_animation_are_refused_by_their_names():
    with pytest.raises(PictureError, match="document of 2 pages"):
        open_picture(written("TIFF", PICTURE))
    with pytest.raises(PictureError, match="animation of 2 frames"):
        open_picture(written("GIF", PICTURE.rotate(180)))
    assert open_picture(written("TIFF", PICTURE), first_frame=True).size == PICTURE.size


def test_sixteen_bits_in_separate_planes_are_refused_and_eight_are_read():
    pixels = np.asarray(PICTURE)
    planes = [np.ascontiguousarray(pixels[..., c]) for c in range(3)]
    wide = [(plane.astype("<u2") * 257).tobytes() for plane in planes]
    with pytest.raises(PictureError, match="16 bits in a layout"):
        open_picture(tiff([16] * 3, wide, t284=2))
    assert np.array_equal(np.asarray(open_picture(tiff([8] * 3, [p.tobytes() for p in planes], t284=2))), pixels)


def test_raw_camera_files_are_refused_instead_of_their_thumbnails():
    strips = [np.asarray(PICTURE).tobytes()]
    for tags in ({"t50706": 1}, {"t254": 1}):
        with pytest.raises(PictureError, match="raw camera file"):
            open_picture(tiff([8] * 3, strips, **tags))
    assert open_picture(tiff([8] * 3, strips)).size == PICTURE.size


def test_a_tiff_with_an_unknown_interpretation_is_refused():
    with pytest.raises(PictureError):
        open_picture(tiff([8] * 3, [np.asarray(PICTURE).tobytes()], t262=32844))


def test_a_ppm_of_sixteen_bits_is_noted():
    notes = []
    open_picture(b"P6 2 1 65535\n" + bytes(12), note=notes.append)
    assert notes == ["16 bits a channel are rounded to 8"]
