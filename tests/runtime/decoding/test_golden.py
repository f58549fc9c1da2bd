"""Published bits never change: files of version 1 always decode to the same latents."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from codec import Codec
from conftest import GOLDEN, golden_model

EXPECTED = json.loads((GOLDEN / "latents.json").read_text())


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", EXPECTED)
def test_golden_files_decode_to_the_same_latents_and_pixels(name, threads, optimize):
    codec = Codec(str(golden_model(name)), threads=threads, optimize=optimize)
    data = (GOLDEN / f"{name}.nic").read_bytes()
    latents = codec.decode_latents(data)[1]
    assert hashlib.sha256(latents.astype("<i4").tobytes()).hexdigest() == EXPECTED[name]
    decoded = codec.decode(data)
    with Image.open(GOLDEN / f"{name}.png") as expected:
        assert decoded.mode == expected.mode and decoded.size == expected.size
        assert abs(np.asarray(decoded).astype(int) - np.asarray(expected)).max() <= 1


def test_golden_metadata_comes_back():
    codec = Codec(str(GOLDEN / "tiny.nicm"), threads=1)
    info = codec.decode((GOLDEN / "alpha_and_metadata.nic").read_bytes()).info
    assert (info["icc_profile"], info["exif"], info["xmp"]) == (b"any bytes", b"Exif\x00\x00of", b"any kind")
