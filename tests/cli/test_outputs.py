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
from conftest import made_picture

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


def test_inputs_of_one_stem_do_not_overwrite_each_other(model, tmp_path):
    for folder, seed in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        Image.fromarray(made_picture(40, 30, seed)).save(tmp_path / folder / "x.png")
    first, second = tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"
    result = run("encode", first, second, "-o", tmp_path, "--overwrite", *model)
    assert result.returncode == 1 and b"also the output of" in result.stderr
    alone = run("encode", first, "-o", "-", *model).stdout
    assert (tmp_path / "x.nic").read_bytes() == alone


def test_a_folder_that_does_not_exist_is_not_made_a_file(picture_file, model, tmp_path):
    assert "no such folder" in failed(run("encode", picture_file, "-o", f"{tmp_path}/new/", *model))
    assert not (tmp_path / "new").exists()


def test_an_output_without_its_option_is_explained_before_anything_is_written(picture_file, model, tmp_path):
    result = run("encode", picture_file, tmp_path / "a.nic", *model)
    assert result.returncode == 2 and b"-o" in result.stderr and not picture_file.with_suffix(".nic").exists()
    assert run("encode", picture_file, "-o", tmp_path / "a.nic", *model).returncode == 0
    result = run("decode", tmp_path / "a.nic", tmp_path / "a.png", *model)
    assert result.returncode == 2 and b"-o" in result.stderr and not (tmp_path / "a.png").exists()


def test_decoding_spares_the_original_unless_it_is_named(picture_file, model):
    assert run("encode", picture_file, *model).returncode == 0
    original, nic = picture_file.read_bytes(), picture_file.with_suffix(".nic")
    assert "original" in failed(run("decode", nic, "--overwrite", *model))
    assert picture_file.read_bytes() == original
    assert run("decode", nic, "-o", picture_file, "--overwrite", *model).returncode == 0
    assert picture_file.read_bytes() != original
    assert run("decode", nic, "--overwrite", *model).returncode == 0  # now it is a result


def test_open_streams_are_outputs_by_their_names(picture_file, model, tmp_path):
    expected = run("encode", picture_file, "-o", "-", *model).stdout
    assert run("encode", picture_file, "-o", "/dev/stdout", *model).stdout == expected
    with (tmp_path / "a.nic").open("wb") as file:
        command = [
            sys.executable,
            "-m",
            "codec_cli",
            "encode",
            str(picture_file),
            "-o",
            "/dev/stdout",
            *map(str, model),
        ]
        subprocess.run(command, stdout=file, check=True)
    assert (tmp_path / "a.nic").read_bytes() == expected


def test_a_file_is_decoded_from_a_pipe_by_its_name(picture_file, model, tmp_path):
    data = run("encode", picture_file, "-o", "-", *model).stdout
    assert run("decode", "/dev/stdin", "-o", tmp_path / "a.png", *model, stdin=data).returncode == 0


def test_a_replaced_file_keeps_its_permissions(picture_file, model, tmp_path):
    target = tmp_path / "a.nic"
    target.write_bytes(b"old")
    target.chmod(0o640)
    assert run("encode", picture_file, "-o", target, "--overwrite", *model).returncode == 0
    assert target.stat().st_mode & 0o777 == 0o640 and target.read_bytes().startswith(b"\x89NIC")
