"""The encoder simulation of the training, compared with the encoder."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import codec.encoding.latents
import codec.encoding.rdoq
import codec_models.training.encoder_simulation
from codec.encoding.hide_signs import hide_signs
from codec.encoding.rdoq import (
    GRADIENT_SHARE,
    SINGLE_ITERATION_SCALE,
    LatentState,
    curvature_ratio,
    pull_to_gradient,
    rdoq_step,
)
from codec.encoding.symbol_costs import symbol_costs
from codec.entropy.constants import SCALE_LEVELS, STEPS
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.entropy import ScaleLikelihood, gather_step
from codec_models.quantization.scalar import ScalarQuantizer
from codec_models.training.encoder_simulation import (
    SIGNED_SHARE,
    EncoderSimulation,
    simulate_encoder,
    to_positions,
)
from codec_models.training.fit_mixture import count_symbols, mixture_of_tables
from codec_models.training.recipe import RECIPES, load_recipe
from codec_models.training.trainer import Trainer
from conftest import made_picture

SAMPLE = Path(__file__).parents[3] / "samples" / "coffee.png"


@pytest.fixture(scope="module")
def simulation(filtered):
    """The simulation for a batch of one, with the code lengths of a model file."""
    likelihood = ScaleLikelihood()
    likelihood.mixture = mixture_of_tables(filtered.model.scale_tables)
    return EncoderSimulation.draw(1.0, torch.ones(1), likelihood)


def test_rdoq_changes_latents_as_the_encoder_does(filtered, simulation, monkeypatch):
    for module in (codec.encoding.rdoq, codec_models.training.encoder_simulation):
        monkeypatch.setattr(module, "CHANGED_SHARE", 1.0)
    rng = np.random.default_rng(0)
    scale_index = rng.integers(0, 40, (16, 12, 10))
    symbols = np.rint(rng.laplace(0, 0.11 * 1.13**scale_index)).astype(np.int32)
    mean = rng.normal(0, 2, symbols.shape)
    y, decoded = symbols + mean + rng.uniform(-0.5, 0.5, symbols.shape), symbols + mean
    gradient, error = rng.normal(0, 18, symbols.shape), rng.uniform(30, 150, symbols.shape[1:])
    state = LatentState(y, decoded, symbols, scale_index, gradient, curvature_ratio(gradient, error))
    target, _ = rdoq_step(symbol_costs(filtered.model), state, SINGLE_ITERATION_SCALE, rng)
    expected = pull_to_gradient(state, target, GRADIENT_SHARE) - y
    arrays = (torch.from_numpy(a)[None] for a in (y, decoded, symbols, scale_index, gradient, error[None]))
    change = simulation.rdoq_change(*arrays)[0].numpy()
    assert np.isclose(change, expected, atol=1e-3).mean() > 0.99  # the tables differ a little from the mixture
    assert 0.05 < np.not_equal(target, decoded).mean() < 0.9


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_hiding_signs_changes_as_many_symbols_and_saves_as_many_bits_as_in_the_encoder(
    filtered, simulation, quality, monkeypatch
):
    steps = []  # of each context step: residuals, symbols before and after hiding, scale indices, which have no sign

    def recorded(tiles, costs, rate_weight=1.0):
        results = hide_signs(tiles, costs, rate_weight)
        if rate_weight == 1.0:  # the closed loop, which training does not simulate, has other weights
            for (symbols, errors, indices, layout), result in zip(tiles, results, strict=True):
                is_signless = np.isin(np.arange(len(result)), layout.signless)
                steps.append((symbols - errors, symbols, result, indices, is_signless))
        return results

    monkeypatch.setattr(codec.encoding.latents, "hide_signs", recorded)
    with Image.open(SAMPLE) as picture:
        filtered.encode(picture.crop((0, 0, 384, 256)), quality, effort=2, fallback=False)
    residual, symbols, hidden, indices, is_signless = map(np.concatenate, zip(*steps, strict=True))
    torch.manual_seed(0)
    y, scale_index = (torch.from_numpy(a).float().reshape(1, 1, -1, 1) for a in (residual, indices))
    quantize = simulation.hide_signs(ScalarQuantizer("ste"), training=False)
    quantized = quantize(y, torch.zeros_like(y), scale_index)
    changes = (quantized.values - y.round()).flatten().numpy()
    assert set(np.unique(changes)) <= {-1, 0, 1} and torch.equal(quantized.coded, quantized.values)
    assert np.count_nonzero(changes) == pytest.approx(np.count_nonzero(hidden - symbols), rel=0.2)
    saved_bits = float(simulation.saved_bits(scale_index).sum())
    assert saved_bits == pytest.approx(np.count_nonzero(hidden[is_signless]), rel=0.2)


def test_saved_bits_have_the_gradient_of_their_table(simulation):
    scale_index = torch.arange(SCALE_LEVELS, dtype=torch.float32, requires_grad=True)
    simulation.saved_bits(scale_index).sum().backward()
    slope = SIGNED_SHARE * torch.gradient(simulation.capacities)[0]
    assert torch.allclose(scale_index.grad[1:-1], slope[1:-1])
    assert (simulation.capacities.diff() >= 0).all() and simulation.capacities[0] == 0


def test_coded_values_return_to_the_positions_of_their_latents():
    y = torch.randn(2, 16, 4, 6, generator=torch.Generator().manual_seed(0))
    coded = torch.cat([gather_step(y.chunk(STEPS, dim=1), step) for step in range(STEPS)], dim=1)
    assert torch.equal(to_positions(coded, y), y)


def test_pictures_outside_the_share_are_not_refined():
    torch.manual_seed(0)
    recipe = load_recipe(RECIPES / "tiny.toml")
    model = CompressionModel(recipe.architecture).eval()
    x = torch.from_numpy(made_picture(64, 64)).permute(2, 0, 1)[None].float() / 255
    unit_quality = torch.full((1,), 0.5)
    simulation = EncoderSimulation.draw(0.0, 255**2 * recipe.lambda_at(unit_quality), model.likelihood)
    simulated, plain = simulate_encoder(model, simulation, x, unit_quality), model(x, unit_quality)
    assert torch.equal(simulated.latents.y_hat, plain.latents.y_hat) and torch.allclose(simulated.bits, plain.bits)


def test_training_refines_latents_and_counts_them_refined(monkeypatch):
    monkeypatch.setattr("codec_models.training.fit_mixture.COUNTED_CROPS", 8)
    pictures = [torch.from_numpy(made_picture(96, 96, seed)).permute(2, 0, 1) for seed in range(2)]
    recipe = dataclasses.replace(load_recipe(RECIPES / "tiny.toml"), refined=1.0)
    trainer = Trainer(recipe, pictures, "cpu")
    assert trainer.step().isfinite().all()
    model = trainer.model.eval()
    refined, plain = (count_symbols(model, pictures, 0, draw) for draw in (trainer.draw_simulation, None))
    assert refined.sum() == plain.sum() and not torch.equal(refined, plain)


def test_vectors_cannot_be_refined():
    with pytest.raises(ValueError, match="vq"):
        dataclasses.replace(load_recipe(RECIPES / "vq.toml"), refined=0.5)
