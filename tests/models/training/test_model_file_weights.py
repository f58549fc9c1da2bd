import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from codec.networks.engine import Engine
from codec.networks.model import Model, load_model, read_model
from codec_models.export.export import export, trained_model
from codec_models.export.frequency_tables import frequency_tables
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.entropy import quality_level
from codec_models.networks.integer import set_exact
from codec_models.networks.layers import Block
from codec_models.training.checkpoint import load_checkpoint
from codec_models.training.model_file_weights import architecture_of, load_model_weights, take_weights
from codec_models.training.recipe import RECIPES, load_recipe
from codec_models.training.train import train
from conftest import GOLDEN, made_picture


def read_back(file):
    model = CompressionModel(architecture_of(file))
    for block in model.modules():
        if isinstance(block, Block):
            block.input_scale.fill_(3.0)  # another value than in the exported model
    load_model_weights(model, file)
    set_exact(model.eval(), True)
    return model


@pytest.mark.parametrize("written", ["long ago", "now"])
def test_a_model_file_gives_back_the_model_that_it_was_exported_from(written):
    exported, _ = trained_model(GOLDEN / "tiny.pt")
    now = written == "now"
    file = read_model(export(GOLDEN / "tiny.pt", "tiny")) if now else load_model(GOLDEN / "tiny.nicm")
    model = read_back(file)
    x = torch.from_numpy(made_picture(512, 384)).permute(2, 0, 1)[None].float() / 255
    for unit_quality in map(torch.tensor, ([0.0], [0.4], [1.0])):

        @torch.no_grad()
        def results(m, unit_quality=unit_quality):
            y = exported.g_a(x, unit_quality) * exported.gain(unit_quality)
            analysed = m.g_a(x, unit_quality) * m.gain(unit_quality), m.h_a(y)
            features = m.h_s(exported.h_a(y).round(), quality_level(unit_quality))
            y_hat, _, scale_index, _ = m.code_latents(y, features, m.quantizer)
            return (y_hat, scale_index), (*analysed, m.g_s(y_hat * m.inverse_gain(unit_quality), unit_quality))

        (exact, close), (expected_exact, expected_close) = results(model), results(exported)
        assert all(map(torch.equal, exact, expected_exact))
        for a, b in zip(close, expected_close, strict=True):
            # A file that is written now holds the weights of the float networks as float16.
            torch.testing.assert_close(a, b, atol=2e-3 * float(b.abs().max()) if now else 1e-4, rtol=0)
    again = frequency_tables(model)
    for name, tables in (("scale", file.scale_tables), ("hyper", file.hyper_tables)):
        for row, table in zip(again[name], tables, strict=True):
            radius = min(table.radius, len(row) // 2 - 1)
            fitted, expected = (
                np.array(r[len(r) // 2 - 1 - radius : len(r) // 2 + radius]) / 2**16 for r in (row, table.frequencies)
            )
            bits, bits_again = (-expected @ np.log2(shares) for shares in (expected, fitted))
            assert bits_again < 1.01 * bits + 0.01


@pytest.mark.usefixtures("without_fits")
def test_training_starts_from_a_model_file(tmp_path):
    (tmp_path / "data").mkdir()
    for seed in range(2):
        Image.fromarray(made_picture(160, 130, seed)).save(tmp_path / "data" / f"{seed}.png")
    file = load_model(GOLDEN / "tiny.nicm")
    recipe = dataclasses.replace(load_recipe(RECIPES / "tiny.toml"), steps=1, learning_rate=1e-9)
    checkpoint = train(tmp_path / "data", tmp_path, recipe, device="cpu", start_from=GOLDEN / "tiny.nicm")
    _, saved = load_checkpoint(checkpoint)
    for name, weights in read_back(file).state_dict().items():
        if name.startswith("context_steps."):
            torch.testing.assert_close(saved["model"][name], weights, atol=1e-6, rtol=0)
    assert saved["started_from"]["steps"] == file.metadata["steps"]


def test_the_default_model_can_be_trained_further():
    file = load_model()
    model = read_back(file)
    y_hat = np.random.default_rng(0).normal(0, 2, (1, file.metadata["latents"], 4, 4)).astype(np.float32)
    unit_quality = torch.tensor([0.5])
    expected = Engine(file, threads=1).run("synthesis", y_hat=y_hat, quality=unit_quality.numpy())[0]
    with torch.no_grad():
        x_hat = model.g_s(torch.from_numpy(y_hat) * model.inverse_gain(unit_quality), unit_quality)
    np.testing.assert_allclose(x_hat.numpy(), expected, atol=1e-4)


def test_a_model_with_more_blocks_computes_the_same_at_first():
    before, _ = trained_model(GOLDEN / "tiny.pt")
    more = dataclasses.replace(before.architecture, analysis_blocks8=2, synthesis_blocks16=3)
    model = CompressionModel(more)
    take_weights(model, before)
    set_exact(model.eval(), True)
    x = torch.from_numpy(made_picture(128, 64)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected, result = (m(x, torch.tensor([0.5])) for m in (before, model))
    assert torch.equal(result.latents.y_hat, expected.latents.y_hat)
    torch.testing.assert_close(result.x_hat, expected.x_hat, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="another architecture"):
        take_weights(before, model)


def test_a_model_file_that_does_not_fit_is_refused():
    file = load_model(GOLDEN / "tiny.nicm")
    other = CompressionModel(dataclasses.replace(architecture_of(file), latents=32))
    with pytest.raises(ValueError, match="another architecture"):
        load_model_weights(other, file)
    swapped = {**file.file.graphs, "hyper_analysis": file.file.graphs["synthesis"]}
    damaged = [
        {**file.file.graphs, "context1": graph} for graph in (b"", b"\xff" * 99, file.file.graphs["context1"][:5000])
    ]
    for graphs in (swapped, *damaged):
        with pytest.raises(ValueError, match="model file"):
            read_back(Model(dataclasses.replace(file.file, graphs=graphs)))


def test_the_architecture_is_read_whatever_else_the_recipe_holds():
    file = load_model(GOLDEN / "tiny.nicm").file
    recipe = {**file.metadata["recipe"], "a_setting_of_another_release": 1}
    other = Model(dataclasses.replace(file, metadata={**file.metadata, "recipe": recipe}))
    assert architecture_of(other) == architecture_of(Model(file))
    for recipe in (None, {}, {"architecture": {"nonsense": 1}}):
        with pytest.raises(ValueError, match="architecture"):
            architecture_of(Model(dataclasses.replace(file, metadata={**file.metadata, "recipe": recipe})))
