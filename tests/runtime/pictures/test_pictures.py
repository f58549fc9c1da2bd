import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from codec import CodecError, FormatError
from codec.pictures.files import open_picture, picture_bytes
from codec.pictures.planes import as_picture
from conftest import made_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def with_metadata(orientation=6):
    """A picture with a profile, EXIF (turned) and XMP."""
    image = Image.fromarray(made_picture(60, 40))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a description"
    image.info.update(icc_profile=SRGB, exif=exif.tobytes(), xmp=XMP)
    return image


def alpha_plane(width=60, height=40):
    return np.add.outer(np.arange(height) * 3, np.arange(width) * 2).astype(np.uint8)


def image_of_mode(mode):
    image = Image.fromarray(made_picture(60, 40))
    if mode in ("RGBA", "LA"):
        image = image.convert(mode)
        image.putalpha(Image.fromarray(alpha_plane()))
        return image
    if mode == "I;16":
        return Image.fromarray(np.linspace(0, 65535, 2400).reshape(40, 60).astype(np.uint16))
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "found"),
    [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("CMYK", "RGB")]
    + [("YCbCr", "RGB"), ("HSV", "RGB"), ("I", "L"), ("I;16", "L"), ("PA", "RGBA")],
)
def test_every_mode_comes_back_as_colours_or_grey(tiny, mode, found):
    image = image_of_mode("RGBA").convert("PA") if mode == "PA" else image_of_mode(mode)
    decoded = tiny.decode(tiny.encode(image, 100))
    assert decoded.mode == found and decoded.size == (60, 40)
    if "A" in found:
        assert np.array_equal(np.asarray(decoded.getchannel("A")), np.asarray(image.convert("RGBA").getchannel("A")))


def test_sixteen_bits_are_rounded_not_cut():
    picture = as_picture(Image.fromarray(np.array([[0, 128, 129, 65535]], np.uint16)))
    assert picture.grey and picture.pixels[0, :, 0].tolist() == [0, 0, 1, 255]


def test_values_beyond_sixteen_bits_are_refused():
    with pytest.raises(FormatError, match="beyond 16 bits"):
        as_picture(Image.fromarray(np.array([[0, 70000]], np.int32)))
    with pytest.raises(FormatError, match="mode F"):
        as_picture(Image.new("F", (3, 3)))


@pytest.mark.parametrize("transparency", [3, b"\x00\x80\xff"])
def test_a_palette_with_transparency_keeps_it(tiny, transparency):
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 8)
    image = image.convert("P")
    image.info["transparency"] = transparency
    decoded = tiny.decode(tiny.encode(image))
    assert np.array_equal(np.asarray(decoded.getchannel("A")), np.asarray(image.convert("RGBA").getchannel("A")))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_profile_exif_and_xmp_come_back_byte_for_byte(tiny, kind):
    original = with_metadata(orientation=1)
    decoded = tiny.decode(tiny.encode(original))
    assert all(decoded.info[key] == original.info[key] for key in ("icc_profile", "exif", "xmp"))
    again = open_picture(picture_bytes(decoded, kind))
    assert again.info["icc_profile"] == SRGB and again.info["xmp"] == XMP
    assert again.getexif()[0x010E] == "a description"


def test_orientation_is_kept_and_stripping_does_not_change_how_a_picture_looks(tiny):
    image = with_metadata()
    kept = tiny.decode(tiny.encode(image))
    stripped = tiny.decode(tiny.encode(image, strip=True))
    assert kept.size == (60, 40) and kept.getexif()[0x0112] == 6
    assert stripped.size == (40, 60) and not {"icc_profile", "exif", "xmp"} & set(stripped.info)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    ("kind", "metadata", "lost"),
    [
        ("TIFF", {"exif": b"Exif\0\0no TIFF at all", "xmp": XMP}, "exif"),
        ("JPEG", {"icc_profile": SRGB, "xmp": b"x" * 70_000}, "xmp"),
        ("TIFF", {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff", "icc_profile": SRGB}, None),
    ],
)
def test_metadata_that_a_format_does_not_take_is_left_out_and_told(kind, metadata, lost):
    image = Image.new("RGB", (20, 10))
    image.info.update(metadata)
    notes = []
    again = open_picture(picture_bytes(image, kind, note=notes.append))
    assert notes == ([f"without {lost}, which {kind} does not take"] if lost else [])
    for name in metadata.keys() - {lost, "exif"}:
        assert again.info[name] == metadata[name]


def test_a_picture_that_a_format_cannot_hold_is_one_error():
    with pytest.raises(CodecError, match="WEBP"):
        picture_bytes(Image.new("RGB", (17_000, 1)), "WEBP")
    with pytest.raises(CodecError, match="JPEG"):
        picture_bytes(Image.new("RGBA", (10, 10)), "JPEG")


def test_exif_that_cannot_be_read_does_not_keep_a_picture_from_being_stripped():
    image = Image.fromarray(made_picture(40, 60))
    image.info["exif"] = b"Exif\0\0no TIFF at all"
    assert as_picture(image, strip=True).pixels.shape == (60, 40, 3)
    assert as_picture(image).metadata["exif"] == b"no TIFF at all"


def test_an_animation_is_refused_or_gives_its_first_frame(tmp_path):
    path = tmp_path / "a.gif"
    frames = [Image.fromarray(made_picture(20, 20, seed)) for seed in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(CodecError, match="animation of 3 frames"):
        open_picture(path)
    notes = []
    assert open_picture(path, first_frame=True, note=notes.append).size == (20, 20)
    assert notes == ["the first of 3 frames"]


def test_sixteen_bit_files_are_read_with_a_note():
    buffer = io.BytesIO()
    image_of_mode("I;16").save(buffer, "PNG")
    notes = []
    open_picture(buffer.getvalue(), note=notes.append)
    assert notes == ["16 bits a channel are rounded to 8"]


@pytest.mark.parametrize("colour", [(7, 80, 200), (7, 80, 200, 0)])
def test_one_colour_and_full_transparency_cost_next_to_nothing(tiny, colour):
    image = Image.new("RGB" if len(colour) == 3 else "RGBA", (700, 500), colour)
    data = tiny.encode(image)
    assert len(data) < 120
    decoded = np.asarray(tiny.decode(data))
    assert (decoded[..., 3] == 0).all() if len(colour) == 4 else (decoded == colour).all()


@pytest.mark.parametrize("array", [np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5))])
def test_arrays_that_are_no_pictures_are_refused(array):
    with pytest.raises(FormatError, match="expected"):
        as_picture(array)
