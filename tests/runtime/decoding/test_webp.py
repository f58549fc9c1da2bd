"""Tiles that are stored as WebP: what is refused, and that they need no network."""

import io
import subprocess
import sys

import pytest
from PIL import Image

from benchmarks.out_of_distribution import pixel_art
from codec.decoding.webp import decode_webp
from codec.errors import FormatError


def file_of(kind, **options):
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_stored_tile_of_another_size_or_kind_is_a_format_error():
    webp = file_of("WEBP")
    animation = file_of("WEBP", save_all=True, append_images=[Image.new("RGB", (30, 20), "red")])
    assert decode_webp(webp, 20, 30).shape == (20, 30, 3)
    for data, size in (
        (file_of("PNG"), (20, 30)),
        (webp, (20, 31)),
        (webp[:-9], (20, 30)),
        (animation, (20, 30)),
        (b"", (20, 30)),
    ):
        with pytest.raises(FormatError, match="stored as WebP"):
            decode_webp(data, *size)


def test_a_file_without_latents_is_decoded_without_loading_a_network(tiny, tiny_model_path, tmp_path):
    file = tmp_path / "drawing.nic"
    file.write_bytes(tiny.encode(pixel_art(160), 50))
    code = (
        "import sys, codec\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "codec.Codec(sys.argv[2]).decode(data)\n"
        "assert 'onnxruntime' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, file, tiny_model_path], check=True)
