"""A smaller model out of a larger one."""

import dataclasses

import numpy as np
import pytest
import torch

from codec import Codec
from codec.networks.model import load_model
from codec_models.export.export import export, trained_model
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.integer import set_exact
from codec_models.networks.layers import Block
from codec_models.training.checkpoint import averaged_weights, load_checkpoint
from codec_models.training.klt_init import init_from_principal_components
from codec_models.training.prune import pruned
from codec_models.training.recipe import RECIPES, load_recipe
from codec_models.training.trainer import Trainer
from conftest import made_picture

TINY = load_recipe(RECIPES / "tiny.toml")
PICTURES = [torch.from_numpy(made_picture(160, 130, seed)).permute(2, 0, 1) for seed in range(3)]


def narrower(recipe, **sizes):
    return dataclasses.replace(recipe, architecture=dataclasses.replace(recipe.architecture, **sizes))


@pytest.fixture(autouse=True)
def few_crops(monkeypatch):
    """Small pictures and networks need few."""
    monkeypatch.setattr("codec_models.training.prune.CROPS", 30)
    monkeypatch.setattr("codec_models.training.fit_mixture.COUNTED_CROPS", 4)


@pytest.fixture
def larger():
    """A model with two blocks at each scale of the synthesis, whose branches are not zero."""
    torch.manual_seed(5)
    model = CompressionModel(narrower(TINY, synthesis_blocks8=2, synthesis_blocks16=2).architecture)
    init_from_principal_components(model, TINY, PICTURES)
    with torch.no_grad():
        for block in (*model.g_s.blocks8, *model.g_s.blocks16):
            for end in (block.project, block.contract):
                end.weight.normal_(0, 0.3)
    return model


@torch.no_grad()
def synthesised(model):
    x = torch.from_numpy(made_picture(256, 192, seed=9)).permute(2, 0, 1)[None].float() / 255
    set_exact(model.eval(), True)
    return model(x, torch.tensor([0.7])).x_hat


def test_channels_without_an_effect_are_removed(larger):
    expected = {}
    with torch.no_grad():
        for name, block in larger.g_s.named_modules():
            if isinstance(block, Block):
                for end in ("project", "contract"):
                    dead = torch.randperm(16)[:6]
                    getattr(block, end).weight[:, dead] = 0
                    expected[f"{name}.{end}"] = sorted(set(range(16)) - set(dead.tolist()))
    target = narrower(TINY, synthesis_blocks8=2, synthesis_blocks16=2, synthesis_hidden8=10, synthesis_hidden16=10)
    model = pruned(larger, target.architecture, TINY, PICTURES)
    assert model.architecture == target.architecture
    torch.testing.assert_close(synthesised(model), synthesised(larger), atol=2e-3, rtol=0)
    for name, channels in expected.items():
        for first in ("mix", "depthwise") if name.endswith("project") else ("value", "gate"):
            before, after = (m.g_s.get_submodule(f"{name.rpartition('.')[0]}.{first}").weight for m in (larger, model))
            assert torch.equal(after, before[channels])


def test_the_remaining_channels_compensate_for_the_removed_ones(larger):
    target = narrower(TINY, synthesis_blocks16=1, synthesis_blocks8=2, synthesis_hidden8=8, synthesis_hidden16=12)
    model = pruned(larger, target.architecture, TINY, PICTURES)
    cut = CompressionModel(model.architecture)
    state = {name: value for name, value in larger.state_dict().items() if name in cut.state_dict()}
    shapes = {name: value.shape for name, value in cut.state_dict().items()}
    cut.load_state_dict({n: v[tuple(slice(s) for s in shapes[n])] for n, v in state.items()}, strict=False)
    expected = synthesised(larger)
    error, error_of_cut = (float((synthesised(m) - expected).square().mean()) for m in (model, cut))
    assert error < 0.5 * error_of_cut


def test_a_model_that_is_small_enough_is_not_changed(larger):
    more = narrower(TINY, synthesis_blocks8=3, synthesis_blocks16=2, context_blocks=2)
    assert pruned(larger, more.architecture, TINY, PICTURES) is larger


def test_a_synthesis_that_is_small_enough_is_not_changed(larger):
    target = narrower(TINY, synthesis_blocks8=2, synthesis_blocks16=2, context_blocks=0)
    model = pruned(larger, target.architecture, TINY, PICTURES)
    assert model.architecture.context_blocks == 0
    for name, value in larger.g_s.state_dict().items():
        assert torch.equal(model.g_s.state_dict()[name], value)


def test_training_continues_with_fewer_blocks_and_channels_beside_a_fixed_analysis(tmp_path):
    large = dataclasses.replace(narrower(TINY, synthesis_blocks16=2, analysis_blocks8=2), transforms_from=0.0)
    small = dataclasses.replace(
        narrower(large, synthesis_blocks16=1, synthesis_hidden8=8, synthesis_hidden16=8, context_blocks=0),
        analysis="fixed",
        post_filters="none",
    )
    earlier = None
    for recipe in (large, small):
        trainer = Trainer(recipe, PICTURES, "cpu", start_from=earlier)
        for _ in range(3):
            trainer.step()
        if recipe is small:
            trainer.fit()
        earlier = tmp_path / f"{recipe.analysis}.pt"
        trainer.save(earlier)
    (_, before), (recipe, after) = (load_checkpoint(tmp_path / name) for name in ("free.pt", "fixed.pt"))
    assert recipe == small
    for name, stays in {"g_a.stem.weight": True, "gain.log_scale": True, "g_s.tail.weight": False}.items():
        assert torch.equal(averaged_weights(before)[name], after["model"][name]) == stays
    path = tmp_path / "small.nicm"
    path.write_bytes(export(earlier, "small"))
    codec = Codec(load_model(path), threads=1)
    assert after["mixture"] is not None and codec.model.post_filters is None
    pixels = made_picture(128, 128)
    assert np.asarray(codec.decode(codec.encode(pixels, 60, fallback=False))).shape == pixels.shape
    again = Trainer(small, PICTURES, "cpu", start_from=path).model
    trained, _ = trained_model(earlier)
    torch.testing.assert_close(synthesised(again), synthesised(trained), atol=1e-3, rtol=0)


def test_a_model_that_differs_in_more_than_its_size_is_not_pruned(larger):
    target = narrower(TINY, synthesis_blocks8=1, synthesis_blocks16=2, synthesis_hidden8=8, latents=32)
    assert pruned(larger, target.architecture, TINY, PICTURES) is larger
