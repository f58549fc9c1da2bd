"""What the network never saw: never worse than WebP at the same bytes by more than a tile's header."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from codec import format
from codec.classical import decode_webp
from codec.errors import FormatError
from codec.metrics import psnr
from codec.tile_content import ONE_COLOUR, WEBP, unpack

SIDE = 160


def text():
    image = Image.new("RGB", (SIDE, SIDE), "white")
    for line in range(12):
        ImageDraw.Draw(image).text((4, 13 * line), "The quick brown fox 0123", fill="black")
    return np.asarray(image)


def pixel_art():
    palette = np.random.default_rng(1).integers(0, 256, (6, 3), np.uint8)
    return np.kron(palette[np.random.default_rng(2).integers(0, 6, (20, 20))], np.ones((8, 8, 1), np.uint8))


def gradient():
    ramp = np.linspace(0, 255, SIDE)
    return np.stack([ramp[None].repeat(SIDE, 0), ramp[:, None].repeat(SIDE, 1), np.full((SIDE, SIDE), 90)], 2).astype(
        np.uint8
    )


def noise():
    return np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize("made", [text, pixel_art, gradient, noise])
@pytest.mark.parametrize("quality", [20, 80])
def test_never_worse_than_webp_at_the_same_bytes(tiny, made, quality):
    pixels = made()
    data = tiny.encode(pixels, quality)
    ours = psnr(pixels, np.asarray(tiny.decode(data)))
    for settings in [{"lossless": True}, *({"quality": q} for q in range(0, 101, 10))]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", method=4, **settings)
        if len(buffer.getvalue()) + 31 <= len(data):
            assert psnr(pixels, decode_webp(buffer.getvalue(), SIDE, SIDE)) <= ours


def test_drawings_are_stored_as_webp_unless_told_otherwise(tiny):
    data = tiny.encode(pixel_art(), 50)
    assert unpack(format.reader(data).tile(0), False).method == WEBP
    assert np.array_equal(np.asarray(tiny.decode(data)), pixel_art())
    plain = tiny.encode(pixel_art(), 50, fallback=False)
    assert unpack(format.reader(plain).tile(0), False).method != WEBP


def test_a_stored_tile_of_another_size_or_kind_is_refused():
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "PNG")
    webp = io.BytesIO()
    Image.new("RGB", (30, 20)).save(webp, "WEBP")
    for data, size in ((buffer.getvalue(), (20, 30)), (webp.getvalue(), (20, 31)), (webp.getvalue()[:-9], (20, 30))):
        with pytest.raises(FormatError, match="stored as WebP"):
            decode_webp(data, *size)


@pytest.mark.parametrize("content", [b"\x03", bytes([ONE_COLOUR]) + b"\1\2", b"\xff123"])
def test_a_tile_of_an_unknown_method_or_length_is_refused(tiny, content):
    header = format.Header(tiny.model.model_id, 10, 10, 5000)
    with pytest.raises(FormatError):
        tiny.decode(format.write(header, [content]))


@pytest.mark.parametrize("content", [b"\x00\x01", b"\x00\xff\xff\xff\xff", b"\x02\x03\x00\x00\x00abc123"])
def test_damaged_alpha_is_refused(tiny, content):
    header = format.Header(tiny.model.model_id, 10, 10, 5000, alpha=True)
    with pytest.raises(FormatError):
        tiny.decode(format.write(header, [content]))
