import json
from pathlib import Path

import numpy as np
from PIL import Image

from codec.metrics import psnr
from command_line import failed, run
from conftest import made_picture

SAMPLES = Path(__file__).parents[2] / "samples"


def test_a_picture_survives_encode_info_and_decode(picture_file, model, tmp_path):
    nic, png = tmp_path / "a.nic", tmp_path / "b.png"
    assert run("encode", picture_file, "-o", nic, "-q", 80, *model).returncode == 0
    facts = json.loads(run("info", nic, "--json").stdout)
    assert (facts["width"], facts["height"], facts["quality"]) == (100, 70, 80)
    assert run("decode", nic, "-o", png, *model).returncode == 0
    assert np.asarray(Image.open(png)).shape == (70, 100, 3)
    assert "already there" in failed(run("decode", nic, "-o", png, *model))
    assert run("decode", nic, "-o", png, "--overwrite", *model).returncode == 0


def test_damaged_exif_is_kept_and_otherwise_ignored_without_a_message(model, tmp_path):
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


def test_effort_is_from_one_to_five_and_needs_a_model_with_a_gradient(picture_file, model, tmp_path):
    assert run("encode", picture_file, "--effort", 6, *model).returncode == 2
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
