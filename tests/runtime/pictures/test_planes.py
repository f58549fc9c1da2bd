"""Pillow's many modes, arrays and metadata: planes of 8 bits, and back through a file."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from codec.errors import ArgumentError, PictureError
from codec.pictures.planes import as_picture
from conftest import made_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def image_with_metadata(orientation):
    """An image with a profile, EXIF and XMP."""
    image = Image.fromarray(made_picture(60, 40))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a description"
    image.info.update(icc_profile=SRGB, exif=exif.tobytes(), xmp=XMP)
    return image


def image_of_mode(mode):
    image = Image.fromarray(made_picture(60, 40))
    if mode in ("RGBA", "LA"):
        image = image.convert(mode)
        image.putalpha(Image.fromarray(np.add.outer(np.arange(40) * 3, np.arange(60) * 2).astype(np.uint8)))
        return image
    if mode == "I;16":
        return Image.fromarray(np.linspace(0, 65535, 2400).reshape(40, 60).astype(np.uint16))
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "decoded_mode"),
    [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("CMYK", "RGB")]
    + [("YCbCr", "RGB"), ("HSV", "RGB"), ("I", "L"), ("I;16", "L"), ("PA", "RGBA")],
)
def test_every_mode_comes_back_as_colours_or_grey(tiny, mode, decoded_mode):
    image = image_of_mode("RGBA").convert("PA") if mode == "PA" else image_of_mode(mode)
    decoded = tiny.decode(tiny.encode(image, 100))
    assert decoded.mode == decoded_mode and decoded.size == (60, 40)
    if "A" in decoded_mode:
        assert np.array_equal(np.asarray(decoded.getchannel("A")), np.asarray(image.convert("RGBA").getchannel("A")))


def test_sixteen_bits_are_rounded_and_not_cut_off():
    picture = as_picture(Image.fromarray(np.array([[0, 128, 129, 65535]], np.uint16)))
    assert picture.grey and picture.pixels[0, :, 0].tolist() == [0, 0, 1, 255]


def test_values_beyond_sixteen_bits_are_refused():
    with pytest.raises(PictureError, match="beyond 16 bits"):
        as_picture(Image.fromarray(np.array([[0, 70000]], np.int32)))
    with pytest.raises(PictureError, match="mode F"):
        as_picture(Image.new("F", (3, 3)))


def test_an_image_without_pixels_is_refused():
    with pytest.raises(PictureError, match="no pixels"):
        as_picture(Image.new("RGB", (0, 4)))


@pytest.mark.parametrize("array", [np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5))])
def test_arrays_of_another_shape_or_type_are_refused(array):
    with pytest.raises(ArgumentError, match="expected"):
        as_picture(array)


@pytest.mark.parametrize("transparency", [3, b"\x00\x80\xff"])
def test_a_palette_with_transparency_keeps_it(tiny, transparency):
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 8)
    image = image.convert("P")
    image.info["transparency"] = transparency
    decoded = tiny.decode(tiny.encode(image))
    assert np.array_equal(np.asarray(decoded.getchannel("A")), np.asarray(image.convert("RGBA").getchannel("A")))


def test_profile_exif_and_xmp_come_back_byte_for_byte(tiny):
    original = image_with_metadata(orientation=1)
    decoded = tiny.decode(tiny.encode(original))
    assert all(decoded.info[key] == original.info[key] for key in ("icc_profile", "exif", "xmp"))


def test_orientation_is_kept_and_stripping_does_not_change_how_a_picture_looks(tiny):
    image = image_with_metadata(orientation=6)
    decoded = tiny.decode(tiny.encode(image))
    stripped = tiny.decode(tiny.encode(image, strip=True))
    assert decoded.size == (60, 40) and decoded.getexif()[0x0112] == 6
    assert stripped.size == (40, 60) and not {"icc_profile", "exif", "xmp"} & set(stripped.info)


def test_exif_that_cannot_be_read_does_not_keep_a_picture_from_being_stripped():
    image = Image.fromarray(made_picture(40, 60))
    image.info["exif"] = b"Exif\0\0no TIFF at all"
    assert as_picture(image, strip=True).pixels.shape == (60, 40, 3)
    assert as_picture(image).metadata["exif"] == b"no TIFF at all"
