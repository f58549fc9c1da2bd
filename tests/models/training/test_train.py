import csv
import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from codec import Codec
from codec.container.nicm import GRADIENT
from codec.networks.model import read_model
from codec_models.export.export import export, trained_model
from codec_models.training.checkpoint import averaged_weights, load_checkpoint, save_checkpoint
from codec_models.training.data import load_folder
from codec_models.training.fit_post_filters import COUNT
from codec_models.training.recipe import RECIPES, load_recipe
from codec_models.training.train import train
from codec_models.training.trainer import Trainer
from conftest import made_picture


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    for seed in range(3):
        Image.fromarray(made_picture(160, 130, seed)).save(data / f"{seed}.png")
    (data / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:  # small networks and pictures need fewer and smaller crops
        patch.setattr("codec_models.training.fit_mixture.COUNTED_CROPS", 32)
        patch.setattr("codec_models.training.fit_post_filters.CROP_SIDE", 128)
        train(data, out, load_recipe(RECIPES / "tiny.toml"), device="cpu")
    return data, out


@pytest.fixture(scope="module")
def codec(run_folder):
    """The exported model of ``run_folder``."""
    return Codec(read_model(export(run_folder[1] / "checkpoint.pt", "tiny")), threads=1)


def test_training_leaves_a_checkpoint_that_exports_and_encodes(codec):
    assert len(codec.model.post_filters) == COUNT
    pixels = made_picture(128, 128)
    data = codec.encode(pixels, 60)
    assert np.asarray(codec.decode(data)).shape == pixels.shape


def test_the_file_is_as_long_as_the_model_estimates(run_folder, codec):
    model, _ = trained_model(run_folder[1] / "checkpoint.pt")
    pixels = made_picture(512, 512)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    # Twenty steps do not teach the scales of high qualities: there many latents would be escapes.
    for quality in (0, 25, 50):
        with torch.no_grad():
            fitted = float(model(x, torch.tensor([quality / 100])).bits) / 8
            mixture, model.likelihood.mixture = model.likelihood.mixture, None
            gaussian = float(model(x, torch.tensor([quality / 100])).bits) / 8
            model.likelihood.mixture = mixture
        assert fitted < gaussian
        assert abs(len(codec.encode(pixels, quality, effort=1)) - fitted) <= 0.01 * fitted + 32


@pytest.mark.usefixtures("without_fits")
def test_training_starts_from_the_weights_of_another_training(run_folder, tmp_path):
    data, out = run_folder
    recipe = dataclasses.replace(load_recipe(RECIPES / "tiny.toml"), steps=1, optimizer="soap", learning_rate=1e-9)
    train(data, tmp_path / "second", recipe, device="cpu", start_from=out / "checkpoint.pt")
    _, first = load_checkpoint(out / "checkpoint.pt")
    _, second = load_checkpoint(tmp_path / "second" / "checkpoint.pt")
    for name, weights in averaged_weights(first).items():
        torch.testing.assert_close(second["model"][name], weights, atol=1e-6, rtol=0)
    assert second["started_from"]["steps"] == 20
    assert second["started_from"]["recipe"]["optimizer"] == "adamw"
    other = dataclasses.replace(recipe, architecture=dataclasses.replace(recipe.architecture, latents=32))
    with pytest.raises(ValueError, match="another architecture"):
        train(data, tmp_path / "third", other, device="cpu", start_from=out / "checkpoint.pt")


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_blocks_train_in_the_fast_precision_and_gains_in_full(precision, run_folder, monkeypatch):
    monkeypatch.setattr("codec_models.training.trainer.fast_precision", lambda _device: precision)
    trainer = Trainer(load_recipe(RECIPES / "tiny.toml"), load_folder(run_folder[0])[0], "cpu")
    dtypes = {}
    for name in ("g_a.blocks8.0.depthwise", "g_s.blocks16.0.depthwise", "gain", "g_s.tail", "h_s.split"):
        trainer.model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: dtypes.update({name: output.dtype})
        )
    trainer.step()
    fast = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    assert {dtypes.pop("g_a.blocks8.0.depthwise"), dtypes.pop("g_s.blocks16.0.depthwise")} == {fast}
    assert set(dtypes.values()) == {torch.float32} and len(dtypes) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_training_on_an_accelerator_learns(run_folder, tmp_path):
    recipe = dataclasses.replace(load_recipe(RECIPES / "tiny.toml"), steps=200, optimizer="soap")
    train(run_folder[0], tmp_path, recipe, device="cuda")
    losses = [float(row["loss"]) for row in csv.DictReader((tmp_path / "log.csv").open())]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("mode", ["vq", "vq_gumbel"])
def test_vector_quantised_models_have_a_bitstream(mode, run_folder, tmp_path):
    data, _ = run_folder
    recipe = dataclasses.replace(load_recipe(RECIPES / "tiny.toml"), quantization=mode)
    train(data, tmp_path, recipe, device="cpu")
    codec = Codec(read_model(export(tmp_path / "checkpoint.pt", "vq")), threads=1)
    assert GRADIENT not in codec.model.file.graphs  # RDOQ changes integers
    pixels = made_picture(192, 128)
    encoded, latents = codec.encode_with_latents(pixels, 30, fallback=False)
    assert np.array_equal(codec.decode_latents(encoded)[1], latents)
    model, _ = trained_model(tmp_path / "checkpoint.pt")
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        estimated = float(model(x, torch.tensor([0.3])).bits) / 8
    assert abs(len(encoded) - estimated) <= 0.02 * estimated + 40


@pytest.mark.usefixtures("without_fits")
def test_training_resumes_from_its_checkpoint(run_folder, tmp_path):
    data, out = run_folder
    _, state = load_checkpoint(out / "checkpoint.pt")
    assert state["step"] == 20
    with pytest.raises(ValueError, match="already there"):
        train(data, out, load_recipe(RECIPES / "tiny.toml"), device="cpu")
    recipe, state = load_checkpoint(out / "checkpoint.pt")
    (tmp_path / "longer").mkdir()
    save_checkpoint(tmp_path / "longer" / "checkpoint.pt", dataclasses.replace(recipe, steps=25), state)
    train(data, tmp_path / "longer", recipe, device="cpu", resume=True)
    _, resumed = load_checkpoint(tmp_path / "longer" / "checkpoint.pt")
    assert resumed["step"] == 25
    assert {int(parameter["step"]) for parameter in resumed["optimizer"]["state"].values()} == {25}
    assert resumed["average"]["n_averaged"] == 25


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")),
    ],
)
def test_a_resumed_training_draws_the_batch_that_would_have_followed(device, run_folder, tmp_path):
    recipe, pictures = load_recipe(RECIPES / "tiny.toml"), load_folder(run_folder[0])[0]
    trainer = Trainer(recipe, pictures, device)
    trainer.step()
    trainer.save(tmp_path / "checkpoint.pt")
    expected = trainer.batch()
    resumed = Trainer(recipe, pictures, device, load_checkpoint(tmp_path / "checkpoint.pt")[1])
    assert all(map(torch.equal, resumed.batch(), expected))


def test_the_log_has_a_row_for_the_last_steps(run_folder):
    with (run_folder[1] / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["20"]
    assert all(float(value) > 0 for value in rows[0].values())


def test_a_lack_of_memory_is_one_error(run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("codec_models.training.trainer.random_batch", lambda *_: torch.empty(1 << 60))
    with pytest.raises(MemoryError, match="not enough memory"):
        train(run_folder[0], tmp_path, load_recipe(RECIPES / "tiny.toml"), device="cpu")


def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(path)


def test_a_checkpoint_of_another_version_is_refused_with_a_hint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"version": 1, "step": 20}, path)
    with pytest.raises(ValueError, match=r"version 1.*reads version 2.*start from the model file"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "name", ["recipe", "step", "seconds", "mixture", "model", "average", "optimizer", "crops", "noise"]
)
def test_a_checkpoint_whose_parts_are_wrong_is_refused(name, run_folder, tmp_path):
    data, out = run_folder
    recipe, state = load_checkpoint(out / "checkpoint.pt")
    save_checkpoint(tmp_path / "checkpoint.pt", dataclasses.replace(recipe, steps=21), state)
    damaged = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    for value in ("nothing", {"module.gain.log_scale": torch.zeros(1)}):
        damaged[name] = value
        torch.save(damaged, tmp_path / "checkpoint.pt")
        with pytest.raises(ValueError, match="checkpoint|recipe"):
            train(data, tmp_path, recipe, device="cpu", resume=True)
        if name == "average":
            with pytest.raises(ValueError, match="checkpoint"):
                export(tmp_path / "checkpoint.pt", "tiny")


@pytest.mark.parametrize("device", ["magic", "mps", *([] if torch.cuda.is_available() else ["cuda"])])
def test_a_device_that_the_machine_does_not_have_is_refused(device, run_folder, tmp_path):
    with pytest.raises(ValueError, match="device"):
        train(run_folder[0], tmp_path, load_recipe(RECIPES / "tiny.toml"), device=device)


@pytest.mark.usefixtures("without_fits")
def test_training_takes_the_visual_distortion(run_folder, tmp_path):
    data, _ = run_folder
    losses = {}
    for distortion in ("mse", "visual"):
        recipe = dataclasses.replace(load_recipe(RECIPES / "tiny.toml"), distortion=distortion, steps=2)
        path = train(data, tmp_path / distortion, recipe, device="cpu")
        assert load_checkpoint(path)[0].distortion == distortion
        rows = list(csv.DictReader((tmp_path / distortion / "log.csv").open()))
        losses[distortion] = float(rows[-1]["loss"])
    assert losses["mse"] != losses["visual"]
