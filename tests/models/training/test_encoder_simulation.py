"""Training's picture of what encoders do to latents, beside the encoder itself."""

import dataclasses
from pathlib import Path

import models.simulation
import numpy as np
import pytest
import torch
from PIL import Image

import codec.moves
from codec.encode.rdoq import LatentState, curvature_ratio, pull_to_gradient, rdoq_step
from codec.entropy.constants import SCALE_LEVELS, STEPS
from codec.entropy.hidden_signs import HiddenSigns
from codec_models.export.frequency_tables import count_symbols, mixture_of_tables
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.entropy import ScaleLikelihood, gather_step
from codec_models.quantization.scalar import ScalarQuantizer
from codec_models.training.encoder_simulation import EncoderSimulation, in_place
from codec_models.training.recipe import RECIPES, load_recipe
from codec_models.training.trainer import Trainer
from conftest import made_picture

SAMPLE = Path(__file__).parents[2] / "samples" / "coffee.png"


@pytest.fixture(scope="module")
def simulation(filtered):
    """That of a batch of one, with the symbols' bits of the codec's model."""
    likelihood = ScaleLikelihood()
    likelihood.mixture = mixture_of_tables(filtered.model.scale_tables)
    return EncoderSimulation.drawn(1.0, torch.ones(1), likelihood)


def test_latents_move_as_the_encoder_moves_them(filtered, simulation, monkeypatch):
    for module in (codec.moves, models.simulation):
        monkeypatch.setattr(module, "MOVED_SHARE", 1.0)
    rng = np.random.default_rng(0)
    scale_index = rng.integers(0, 40, (16, 12, 10))
    symbols = np.rint(rng.laplace(0, 0.11 * 1.13**scale_index)).astype(np.int32)
    mean = rng.normal(0, 2, symbols.shape)
    y, decoded = symbols + mean + rng.uniform(-0.5, 0.5, symbols.shape), symbols + mean
    slope, error = rng.normal(0, 18, symbols.shape), rng.uniform(30, 150, symbols.shape[1:])
    latents = LatentState(y, decoded, symbols, scale_index, slope, curvature_ratio(slope, error))
    wanted, _ = rdoq_step(filtered.model, latents, codec.moves.REACH_ALONE, rng)
    expected = pull_to_gradient(latents, wanted, codec.moves.SLOPE_SHARE) - y
    arrays = (torch.from_numpy(a)[None] for a in (y, decoded, symbols, scale_index, slope, error[None]))
    found = simulation.moves(*arrays)[0].numpy()
    assert np.isclose(found, expected, atol=1e-3).mean() > 0.99  # tables are a little off the mixture
    assert 0.05 < np.not_equal(wanted, decoded).mean() < 0.9


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_as_many_symbols_move_and_as_many_bits_are_saved_as_where_signs_hide(
    filtered, simulation, quality, monkeypatch
):
    coded = []  # by each context step: residuals, symbols before and after hiding, scale indices, what needs no sign
    moved = HiddenSigns.moved

    def recorded(hidden, tiles, bits_of, rate_weight):
        found = rdoq_step(hidden, tiles, bits_of, rate_weight)
        if rate_weight == 1.0:  # other weights are those of a closed loop, which training knows nothing of
            for (symbols, errors, indices, layout), after in zip(tiles, found, strict=True):
                is_signless = np.isin(np.arange(len(after)), layout.signless)
                coded.append((symbols - errors, symbols, after, indices, is_signless))
        return found

    monkeypatch.setattr(HiddenSigns, "moved", recorded)
    with Image.open(SAMPLE) as picture:
        filtered.encode(picture.crop((0, 0, 384, 256)), quality, effort=2, fallback=False)
    residual, symbols, found, indices, is_signless = map(np.concatenate, zip(*coded, strict=True))
    torch.manual_seed(0)
    y, scale_index = (torch.from_numpy(a).float().reshape(1, 1, -1, 1) for a in (residual, indices))
    quantized = simulation.hiding(ScalarQuantizer("ste"), training=False)(y, torch.zeros_like(y), scale_index)
    moves = (quantized.values - y.round()).flatten().numpy()
    assert set(np.unique(moves)) <= {-1, 0, 1} and torch.equal(quantized.coded, quantized.values)
    assert np.count_nonzero(moves) == pytest.approx(np.count_nonzero(found - symbols), rel=0.2)
    assert float(simulation.saved(scale_index).sum()) == pytest.approx(np.count_nonzero(found[is_signless]), rel=0.2)


def test_saved_bits_have_the_gradient_of_their_table(simulation):
    scale_index = torch.arange(SCALE_LEVELS, dtype=torch.float32, requires_grad=True)
    simulation.saved(scale_index).sum().backward()
    slope = models.simulation.SIGNED_SHARE * torch.gradient(simulation.capacities)[0]
    assert torch.allclose(scale_index.grad[1:-1], slope[1:-1])
    assert (simulation.capacities.diff() >= 0).all() and simulation.capacities[0] == 0


def test_what_is_coded_goes_back_to_its_place():
    y = torch.randn(2, 16, 4, 6, generator=torch.Generator().manual_seed(0))
    coded = torch.cat([gather_step(y.chunk(STEPS, dim=1), step) for step in range(STEPS)], dim=1)
    assert torch.equal(in_place(coded, y), y)


def test_pictures_outside_the_share_are_left_as_they_are():
    torch.manual_seed(0)
    recipe = load_recipe(RECIPES / "tiny.toml")
    model = CompressionModel(recipe.architecture).eval()
    x = torch.from_numpy(made_picture(64, 64)).permute(2, 0, 1)[None].float() / 255
    quality = torch.full((1,), 0.5)
    none = EncoderSimulation.drawn(0.0, 255**2 * recipe.lambda_at(quality), model.likelihood)
    with_none, without = model(x, quality, simulation=none), model(x, quality)
    assert torch.equal(with_none.y_hat, without.y_hat) and torch.allclose(with_none.bits, without.bits)


def test_training_refines_latents_and_counts_them_refined():
    pictures = [torch.from_numpy(made_picture(96, 96, seed)).permute(2, 0, 1) for seed in range(2)]
    recipe = dataclasses.replace(load_recipe(RECIPES / "tiny.toml"), refined=1.0)
    trainer = Trainer(recipe, pictures, "cpu", None, None)
    assert trainer.step().isfinite().all()
    model = trainer.model.eval()
    refined, plain = (count_symbols(model, pictures, 0, how) for how in (trainer.simulation, None))
    assert refined.sum() == plain.sum() and not torch.equal(refined, plain)


def test_vectors_cannot_be_refined():
    with pytest.raises(ValueError, match="vq"):
        dataclasses.replace(load_recipe(RECIPES / "vq.toml"), refined=0.5)
