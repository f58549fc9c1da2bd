"""The plugin for Pillow: files open and save like those of Pillow's own formats."""

import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile, UnidentifiedImageError

import codec.pillow
from conftest import made_picture


@pytest.fixture(autouse=True)
def use_the_small_model(tiny, monkeypatch):
    monkeypatch.setattr(codec.pillow, "shared_codec", lambda: tiny)


def saved(image=None, **options):
    """A buffer that holds the image, or a made-up one, as a .nic file."""
    buffer = io.BytesIO()
    (image or Image.fromarray(made_picture(90, 60))).save(buffer, "NIC", **options)
    return buffer


def test_pillow_saves_and_opens_files_by_their_extension(tmp_path):
    path = tmp_path / "a.nic"
    Image.fromarray(made_picture(90, 60)).save(path, quality=40, exif=b"Exif\0\0of", xmp=b"<x/>")
    with Image.open(path) as image:
        assert (image.format, image.size, image.mode) == ("NIC", (90, 60), "RGB")
        assert image.info == {"exif": b"Exif\0\0of", "xmp": b"<x/>"}
        assert np.asarray(image).shape == (60, 90, 3)
        assert image.getpixel((0, 0)) == tuple(np.asarray(image)[0, 0])


def test_pixels_are_decoded_only_when_they_are_needed(monkeypatch):
    buffer = saved()
    monkeypatch.setattr(codec.pillow, "shared_codec", lambda: pytest.fail("decoded when it was opened"))
    assert Image.open(buffer).size == (90, 60)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_an_image_keeps_its_mode(mode):
    image = Image.fromarray(made_picture(50, 40)).convert(mode)
    if "A" in mode:
        image.putalpha(100)
    decoded = Image.open(saved(image))
    assert decoded.mode == mode and decoded.copy().mode == mode


def test_metadata_of_the_image_is_kept_unless_left_out():
    image = Image.fromarray(made_picture(50, 40))
    image.info["icc_profile"] = b"profile"
    assert Image.open(saved(image)).info == {"icc_profile": b"profile"}
    assert Image.open(saved(image, icc_profile=None)).info == {}


def test_max_bytes_limits_the_size_of_a_file():
    assert len(saved(max_bytes=700).getvalue()) <= 700
    with pytest.raises(OSError, match="smallest file"):
        saved(max_bytes=40)


def test_effort_is_passed_on():
    assert saved(effort=1).getvalue() == saved().getvalue()
    for options in ({}, {"max_bytes": 700}):
        with pytest.raises(OSError, match="no gradient"):
            saved(effort=3, **options)


def test_damage_is_an_oserror_as_for_other_formats():
    data = saved().getvalue()
    with pytest.raises(OSError, match="ends inside its header"):
        Image.open(io.BytesIO(data[:20]))
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data[:4]))
    image = Image.open(io.BytesIO(data[:-3]))
    with pytest.raises(OSError, match="damaged"):
        image.load()


def test_pillows_parser_takes_a_file_in_pieces_and_says_when_one_is_missing():
    data = saved().getvalue()
    parser = ImageFile.Parser()
    for start in range(0, len(data), 100):
        parser.feed(data[start : start + 100])
    assert parser.close().size == (90, 60)
    parser = ImageFile.Parser()
    parser.feed(data[:-30])
    with pytest.raises(OSError, match="damaged|cut short"):
        parser.close().load()


def test_many_threads_can_read_and_write():
    data = saved().getvalue()

    def round_trip(_):
        return np.asarray(Image.open(io.BytesIO(data))).tobytes(), saved().getvalue()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(round_trip, range(12)))) == 1


def test_opened_images_are_pickled_and_copied_with_their_pixels():
    opened = Image.open(saved())
    expected = np.asarray(Image.open(saved()))
    assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(opened))), expected)
    assert np.array_equal(np.asarray(copy.deepcopy(Image.open(saved()))), expected)


def test_save_takes_options_in_the_forms_that_other_formats_take():
    buffer = saved(quality="40", xmp="<x/>", icc_profile=bytearray(b"profile"))
    assert buffer.getvalue() == saved(quality=40, xmp=b"<x/>", icc_profile=b"profile").getvalue()
