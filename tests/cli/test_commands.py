import json
import re
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
from codec.metrics import psnr
from codec_cli.extras import require_train_extra
from conftest import made_picture

SAMPLES = Path(__file__).parents[2] / "samples"


def run(*arguments, stdin=None):
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120)


@pytest.fixture
def model(tiny_model_path):
    return ("--model", tiny_model_path)


def failed(result):
    """The one line that a failed command printed."""
    lines = result.stderr.decode().strip().splitlines()
    assert result.returncode == 1 and len(lines) == 1 and "Traceback" not in lines[0], result.stderr
    return lines[0]


def test_a_picture_survives_encode_info_and_decode(picture_file, model, tmp_path):
    nic, png = tmp_path / "a.nic", tmp_path / "b.png"
    assert run("encode", picture_file, "-o", nic, "-q", 80, *model).returncode == 0
    facts = json.loads(run("info", nic, "--json").stdout)
    assert (facts["width"], facts["height"], facts["quality"]) == (100, 70, 80)
    assert run("decode", nic, "-o", png, *model).returncode == 0
    assert np.asarray(Image.open(png)).shape == (70, 100, 3)
    assert "already there" in failed(run("decode", nic, "-o", png, *model))
    assert run("decode", nic, "-o", png, "--overwrite", *model).returncode == 0


def test_damaged_exif_is_kept_and_otherwise_passed_over_in_silence(model, tmp_path):
    source, nic = tmp_path / "a.png", tmp_path / "a.nic"
    exif = b"II*\0\x08\0\0\0\x05\0\x12\x01\x03\0"  # ends amid its first entry
    Image.fromarray(made_picture(40, 30)).save(source, exif=exif)
    assert run("encode", source, "-o", nic, *model).stderr.decode().count("\n") == 1
    assert json.loads(run("info", nic, "--json").stdout)["metadata"]["exif"] == len(exif)
    assert run("decode", nic, "-o", tmp_path / "a.tiff", *model).stderr.decode().count("\n") == 1
    stripped = run("encode", source, "-o", nic, "--strip", "--overwrite", *model)
    assert stripped.returncode == 0 and stripped.stderr.decode().count("\n") == 1


def test_metadata_alpha_and_a_region_go_through_the_commands(model, tmp_path):
    source, nic, png = tmp_path / "a.png", tmp_path / "a.nic", tmp_path / "b.png"
    alpha = np.full((70, 100, 1), 255, np.uint8)
    alpha[:9] = 0
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.concatenate([made_picture(100, 70), alpha], axis=2)).save(source, exif=exif)
    assert run("encode", source, "-o", nic, *model).returncode == 0
    facts = json.loads(run("info", nic, "--json").stdout)
    assert facts["mode"] == "RGBA" and facts["metadata"]["exif"] > 0 and facts["tiles"] == 1
    assert run("decode", nic, "-o", png, *model).returncode == 0
    with Image.open(png) as decoded:
        assert decoded.getexif()[0x0112] == 6
        assert np.array_equal(np.asarray(decoded)[..., 3:], alpha)
    assert run("decode", nic, "-o", png, "--region", "10,20,30,40", "--overwrite", *model).returncode == 0
    with Image.open(png) as part:
        assert part.size == (30, 40)
    assert "not inside" in failed(run("decode", nic, "-o", tmp_path / "c.png", "--region", "90,20,30,40", *model))
    assert run("decode", nic, "--region", "1,2,3", *model).returncode == 2
    stripped = run("encode", source, "-o", "-", "--strip", "--no-fallback", *model)
    assert json.loads(run("info", "-", "--json", stdin=stripped.stdout).stdout)["width"] == 70


def test_limits_on_bytes_rate_and_psnr(picture_file, model, tmp_path):
    nic = tmp_path / "a.nic"
    for option in (("--max-bytes", 700), ("--target-bpp", 0.8)):
        assert run("encode", picture_file, "-o", nic, *option, "--overwrite", *model).returncode == 0
        assert nic.stat().st_size <= 700
    assert "smallest file" in failed(run("encode", picture_file, "-o", tmp_path / "b.nic", "--max-bytes", 40, *model))
    assert "best PSNR" in failed(run("encode", picture_file, "-o", tmp_path / "b.nic", "--min-psnr", 90, *model))
    assert run("encode", picture_file, "-q", 3, "--max-bytes", 4000, *model).returncode == 2


def test_effort_is_from_one_to_nine_and_needs_a_model_that_can(picture_file, model, tmp_path):
    assert run("encode", picture_file, "--effort", 10, *model).returncode == 2
    assert "no gradient" in failed(run("encode", picture_file, "-o", tmp_path / "a.nic", "--effort", 3, *model))
    assert not (tmp_path / "a.nic").exists()


def test_effort_changes_the_bits_and_not_the_format(tmp_path):
    (tmp_path / "pictures").mkdir()
    photograph = tmp_path / "pictures" / "photograph.png"  # one that the default model codes better than WebP does
    Image.open(SAMPLES / "coffee.png").crop((200, 100, 330, 220)).save(photograph)
    for effort in (1, 3):
        target = tmp_path / f"{effort}.nic"
        assert run("encode", photograph, "-o", target, "--effort", effort).returncode == 0
        assert run("decode", target, "-o", tmp_path / f"{effort}.png").returncode == 0
    assert (tmp_path / "1.nic").read_bytes() != (tmp_path / "3.nic").read_bytes()
    arguments = ("--qualities", 50, "--effort", 3, "--json", tmp_path / "a.json")
    assert run("eval", tmp_path / "pictures", *arguments).returncode == 0
    (measured,) = json.loads((tmp_path / "a.json").read_text())["codecs"]["nic"]
    assert round(measured["bpp"] * 130 * 120 / 8) == (tmp_path / "3.nic").stat().st_size


def test_what_training_lacks_is_said_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setattr("codec_cli.extras.find_spec", lambda name: None if name == "torch" else name)
    with pytest.raises(CodecError, match=r"torch not installed: pip install 'neural-image-codec\[train\]'"):
        require_train_extra()


def test_salvage_writes_what_is_left_and_says_what_is_not(picture_file, model, tmp_path):
    nic, png = tmp_path / "a.nic", tmp_path / "b.png"
    run("encode", picture_file, "-o", nic, *model)
    nic.write_bytes(nic.read_bytes()[:-1] + b"?")
    assert "damaged" in failed(run("decode", nic, "-o", png, *model)) and not png.exists()
    result = run("decode", nic, "-o", png, "--salvage", *model)
    assert result.returncode == 1 and b"1 damaged tiles were filled: 0" in result.stderr
    with Image.open(png) as left:
        assert left.size == (100, 70)


def test_standard_input_and_output_work(picture_file, model):
    encoded = run("encode", "-", *model, stdin=picture_file.read_bytes())
    decoded = run("decode", "-", *model, stdin=encoded.stdout)
    assert decoded.stdout.startswith(b"\x89PNG")


def test_one_bad_file_does_not_stop_a_batch(picture_file, model, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    result = run("encode", bad, picture_file, "-o", tmp_path, *model)
    assert result.returncode == 1 and b"bad.png" in result.stderr
    assert picture_file.with_suffix(".nic").exists() and not (tmp_path / "bad.nic").exists()


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
    command = [sys.executable, "-m", "cli", "encode", *map(str, inputs), "-o", str(out), *map(str, model)]
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

    from codec.errors import CodecError
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


def test_a_disk_that_is_really_full_is_one_line(model, tmp_path):
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


def test_no_colours_where_nobody_sees_them(picture_file, model):
    for arguments in (["--help"], ["encode", "--help"], ["encode", "none.png", *model], ["info", "none"]):
        result = run(*arguments)
        assert b"\x1b[" not in result.stdout + result.stderr


def test_every_command_shows_an_example():
    for command in ("encode", "decode", "info", "eval", "train", "export", "models"):
        assert b"Example: codec" in run(command, "--help").stdout


def test_eval_reports_rates_and_bd_rate_against_jpeg(model, tmp_path):
    Image.fromarray(made_picture(192, 180)).save(tmp_path / "a.png")
    out = tmp_path / "out.json"
    curves = tmp_path / "published.json"
    curves.write_text(json.dumps({"vtm": {"bpp": [0.1, 0.5, 1, 3], "psnr": [20, 26, 30, 36]}}))
    rows = tmp_path / "rows.csv"
    options = ("--qualities", "0,50,100", "--against", "jpeg,webp", "--json", out, "--csv", rows)
    result = run("eval", tmp_path, *options, "--reference", curves, *model)
    assert result.returncode == 0, result.stderr
    report = json.loads(out.read_text())
    assert report["images"] == 1 and set(report["codecs"]) == {"nic", "jpeg", "webp"}
    assert report["bd_rate"]["jpeg"] == 0 and report["bd_rates"]["psnr"]["vtm"]["webp"] is not None
    assert set(report["codecs"]["nic"][0]) == {"quality", "bpp", "psnr", "ms_ssim", "encode_s", "decode_s"}
    assert len(rows.read_text().splitlines()) == 1 + 3 + 8 + 7


@pytest.mark.parametrize("option", ["--json", "--csv", "--report"])
def test_eval_says_that_a_file_is_in_the_way_before_it_measures(model, tmp_path, option):
    Image.fromarray(made_picture(20, 20)).save(tmp_path / "a.png")
    there = tmp_path / "there"
    there.write_text("kept")
    result = run("eval", tmp_path, "--quiet", option, there, *model)
    assert "already there" in failed(result) and not result.stdout
    assert there.read_text() == "kept"


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"a": {"bpp": [1]}}', '{"a": {"bpp": [1, 2], "psnr": [3]}}', '{"a": 3}']
)
def test_eval_refuses_what_it_cannot_use(model, tmp_path, content):
    Image.fromarray(made_picture(20, 20)).save(tmp_path / "a.png")
    curves = tmp_path / "c.json"
    curves.write_text(content)
    assert "not curves" in failed(run("eval", tmp_path, "--quiet", "--reference", curves, *model))


def test_what_takes_long_to_load_is_not_loaded_before_it_is_needed():
    asked = "import sys; from cli.app import app; app(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True).stdout.decode()
    assert "'typer'" in modules
    for name in ("numpy", "PIL", "onnxruntime", "rich", "torch"):
        assert f"'{name}'" not in modules


def test_models_are_listed_with_their_figures():
    parts = re.split(r"^(\w+)  id ", run("models").stdout.decode(), flags=re.MULTILINE)
    assert parts[1::2] == ["base", "small"]
    for card in parts[2::2]:
        assert "data: " in card
        lines = [line.split() for line in card.splitlines()]
        start = lines.index(["quality", "bpp", "psnr", "ms_ssim"])
        figures = np.array([[float(x) for x in line] for line in lines[start + 1 : start + 7]])
        assert (np.diff(figures, axis=0) > 0).all()  # more bits, higher PSNR and MS-SSIM, with every quality


def test_files_of_the_small_model_find_it(tmp_path):
    picture = SAMPLES / "chelsea.png"
    found = {}
    for name in ("base", "small"):
        run("encode", picture, "-o", tmp_path / f"{name}.nic", "--model", name, "-q", 40)
        decoded = tmp_path / f"{name}.png"
        run("decode", tmp_path / f"{name}.nic", "-o", decoded)
        with Image.open(picture) as before, Image.open(decoded) as after:
            found[name] = psnr(np.asarray(before), np.asarray(after)), (tmp_path / f"{name}.nic").stat().st_size
    (base, base_bytes), (small, small_bytes) = found.values()
    assert base - 1.5 < small < base and base_bytes < small_bytes < 1.2 * base_bytes
    refused = run("decode", tmp_path / "small.nic", "-o", tmp_path / "again.png", "--model", "base")
    assert "the model given is" in failed(refused)
