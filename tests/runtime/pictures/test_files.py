"""Picture files: what is read with a note, what is refused, and what metadata each format keeps."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from codec.errors import PictureError
from codec.pictures.files import open_picture, picture_bytes
from codec.pictures.planes import as_picture
from conftest import made_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_format_keeps_profile_exif_and_xmp(kind):
    image = Image.fromarray(made_picture(60, 40))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 1, "a description"
    image.info.update(icc_profile=SRGB, exif=exif.tobytes(), xmp=XMP)
    decoded = as_picture(image).image()
    reopened = open_picture(picture_bytes(decoded, kind))
    assert reopened.info["icc_profile"] == SRGB and reopened.info["xmp"] == XMP
    assert reopened.getexif()[0x010E] == "a description"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    ("kind", "metadata", "lost"),
    [
        ("TIFF", {"exif": b"Exif\0\0no TIFF at all", "xmp": XMP}, "exif"),
        ("JPEG", {"icc_profile": SRGB, "xmp": b"x" * 70_000}, "xmp"),
        ("TIFF", {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff", "icc_profile": SRGB}, None),
    ],
)
def test_metadata_that_a_format_does_not_take_is_left_out_with_a_note(kind, metadata, lost):
    image = Image.new("RGB", (20, 10))
    image.info.update(metadata)
    notes = []
    reopened = open_picture(picture_bytes(image, kind, note=notes.append))
    assert notes == ([f"without {lost}, which {kind} does not take"] if lost else [])
    for name in metadata.keys() - {lost, "exif"}:
        assert reopened.info[name] == metadata[name]


def test_a_picture_that_a_format_cannot_hold_is_a_picture_error():
    with pytest.raises(PictureError, match="WEBP"):
        picture_bytes(Image.new("RGB", (17_000, 1)), "WEBP")
    with pytest.raises(PictureError, match="JPEG"):
        picture_bytes(Image.new("RGBA", (10, 10)), "JPEG")


def test_an_animation_is_refused_unless_its_first_frame_is_asked_for(tmp_path):
    path = tmp_path / "a.gif"
    frames = [Image.fromarray(made_picture(20, 20, seed)) for seed in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(PictureError, match="animation of 3 frames"):
        open_picture(path)
    notes = []
    assert open_picture(path, first_frame=True, note=notes.append).size == (20, 20)
    assert notes == ["the first of 3 frames"]


def test_sixteen_bit_files_are_read_with_a_note():
    buffer = io.BytesIO()
    Image.fromarray(np.linspace(0, 65535, 2400).reshape(40, 60).astype(np.uint16)).save(buffer, "PNG")
    notes = []
    open_picture(buffer.getvalue(), note=notes.append)
    assert notes == ["16 bits a channel are rounded to 8"]


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_bytes_that_are_no_picture_are_a_picture_error_of_one_line(data):
    with pytest.raises(PictureError) as raised:
        open_picture(data)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_a_picture_error(tmp_path):
    with pytest.raises(PictureError, match=r"missing\.png"):
        open_picture(tmp_path / "missing.png")


@pytest.mark.parametrize("kind", ["BMP", "PPM"])
def test_a_format_without_metadata_gets_upright_pixels_in_srgb_and_a_note(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(made_picture(40, 30))
    image.info["exif"] = exif.tobytes()
    upright = np.asarray(image.rotate(-90, expand=True))
    notes = []
    written = Image.open(io.BytesIO(picture_bytes(image, kind, note=notes.append)))
    assert np.array_equal(np.asarray(written), upright)
    assert notes == [f"turned upright, as {kind} does not keep exif"]
