"""What the network never saw: never worse than WebP at the same bytes by more than a tile's header."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks.unseen import HEADER, PICTURES, best_webp, pixel_art
from codec.container import nic
from codec.container.tile import ONE_COLOUR, WEBP, unpack
from codec.decode.webp import decode_webp
from codec.errors import FormatError
from codec.metrics import psnr

SIDE = 160


@pytest.mark.parametrize("made", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("quality", [20, 80])
def test_never_worse_than_webp_at_the_same_bytes(tiny, made, quality):
    pixels = made(SIDE)
    data = tiny.encode(pixels, quality)
    ours = psnr(pixels, np.asarray(tiny.decode(data)))
    assert not best_webp(pixels, len(data) - HEADER) > ours


def test_a_file_without_latents_is_decoded_without_loading_a_network(tiny, tiny_model_path, tmp_path):
    file = tmp_path / "drawing.nic"
    file.write_bytes(tiny.encode(pixel_art(SIDE), 50))
    code = (
        "import sys, codec\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "codec.Codec(sys.argv[2]).decode(data)\n"
        "assert 'onnxruntime' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, file, tiny_model_path], check=True)


def test_drawings_are_stored_as_webp_unless_told_otherwise(tiny):
    data = tiny.encode(pixel_art(SIDE), 50)
    assert unpack(nic.reader(data).tile(0), False).method == WEBP
    assert np.array_equal(np.asarray(tiny.decode(data)), pixel_art(SIDE))
    plain = tiny.encode(pixel_art(SIDE), 50, fallback=False)
    assert unpack(nic.reader(plain).tile(0), False).method != WEBP


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
    header = nic.Header(tiny.model.model_id, 10, 10, 5000)
    with pytest.raises(FormatError):
        tiny.decode(nic.write(header, [content]))


@pytest.mark.parametrize("content", [b"\x00\x01", b"\x00\xff\xff\xff\xff", b"\x02\x03\x00\x00\x00abc123"])
def test_damaged_alpha_is_refused(tiny, content):
    header = nic.Header(tiny.model.model_id, 10, 10, 5000, alpha=True)
    with pytest.raises(FormatError):
        tiny.decode(nic.write(header, [content]))
