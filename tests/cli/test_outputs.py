import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec.errors import CodecError
from command_line import failed, run

SAMPLES = Path(__file__).parents[2] / "samples"


def test_bad_input_is_one_line_and_leaves_nothing_behind(picture_file, model, tmp_path):
    nic = tmp_path / "a.nic"
    run("encode", picture_file, "-o", nic, *model)
    before = sorted(p.name for p in tmp_path.iterdir())
    short = tmp_path / "home" / "x.png"
    assert "no such" in failed(run("encode", tmp_path / "none.png", *model)).lower()
    assert "cannot be written" in failed(run("encode", picture_file, "-o", short, *model))
    assert "not a .nic file" in failed(run("decode", picture_file, "-o", tmp_path / "x.png", *model))
    assert "not there" in failed(run("encode", picture_file, "-o", tmp_path / "x.nic", "--model", "nonesuch"))
    assert "cannot be written" in failed(run("encode", picture_file, "-o", "/dev/full/x.nic", *model))
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert run("encode", picture_file, "-q", 101, *model).returncode == 2


def test_an_interrupted_batch_leaves_no_partial_file(picture_file, model, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    inputs = []
    for index in range(300):
        inputs.append(tmp_path / f"{index}.png")
        inputs[-1].symlink_to(picture_file)
    command = [sys.executable, "-m", "codec_cli", "encode", *map(str, inputs), "-o", str(out), *map(str, model)]
    # Whoever started the tests in the background may have had the signal ignored, which is inherited.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=heard)
    while not list(out.glob("*.nic")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    names = [path.name for path in out.iterdir()]
    assert process.returncode not in (0, None) and b"Traceback" not in messages
    assert 0 < len(names) < 300 and all(name.endswith(".nic") for name in names)
    for path in out.iterdir():
        assert run("info", path, "--json").returncode == 0
        break


def test_links_and_devices_stay_what_they_are(picture_file, model, tmp_path):
    link, target = tmp_path / "link.nic", tmp_path / "target.nic"
    target.write_bytes(b"old")
    link.symlink_to(target)
    # Found before the work, which fails: the model has no gradient.
    assert "already there" in failed(run("encode", picture_file, "-o", link, "--effort", 3, *model))
    assert "gradient" in failed(run("encode", picture_file, "-o", link, "--effort", 3, "--overwrite", *model))
    assert run("encode", picture_file, "-o", link, "--overwrite", *model).returncode == 0
    assert link.is_symlink() and target.read_bytes().startswith(b"\x89NIC")
    assert run("encode", picture_file, "-o", "/dev/null", *model).returncode == 0
    assert not Path("/dev/null").is_file()


def test_a_full_disk_leaves_no_partial_file_and_keeps_the_old_one(tmp_path, monkeypatch):
    import os

    from codec_cli.outputs import write_file

    target = tmp_path / "kept.nic"
    target.write_bytes(b"old")

    class Full:
        def __init__(self, handle, mode):
            self.handle = handle

        def __enter__(self):
            return self

        def __exit__(self, *_):
            os.close(self.handle)

        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", Full)
    with pytest.raises(CodecError, match="No space left"):
        write_file(target, b"new", overwrite=True)
    assert target.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["kept.nic"]


def test_a_really_full_disk_is_one_line(model, tmp_path):
    disk, source = tmp_path / "disk", tmp_path / "noise.png"
    disk.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(source)
    mounting = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(disk)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        assert "No space left" in failed(run("encode", source, "-o", disk / "a.nic", "-q", 100, *model))
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
