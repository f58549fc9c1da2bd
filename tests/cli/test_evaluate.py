import json
from pathlib import Path

import pytest
from PIL import Image

from command_line import failed, run
from conftest import made_picture

SAMPLES = Path(__file__).parents[2] / "samples"


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
def test_eval_refuses_to_replace_a_file_before_it_measures(model, tmp_path, option):
    Image.fromarray(made_picture(20, 20)).save(tmp_path / "a.png")
    there = tmp_path / "there"
    there.write_text("kept")
    result = run("eval", tmp_path, "--quiet", option, there, *model)
    assert "already there" in failed(result) and not result.stdout
    assert there.read_text() == "kept"


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"a": {"bpp": [1]}}', '{"a": {"bpp": [1, 2], "psnr": [3]}}', '{"a": 3}']
)
def test_eval_refuses_a_file_that_holds_no_curves(model, tmp_path, content):
    Image.fromarray(made_picture(20, 20)).save(tmp_path / "a.png")
    curves = tmp_path / "c.json"
    curves.write_text(content)
    assert "not curves" in failed(run("eval", tmp_path, "--quiet", "--reference", curves, *model))
