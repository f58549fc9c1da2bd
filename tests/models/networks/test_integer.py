import copy

import pytest
import torch

from codec.entropy.constants import SCALE_LEVELS, STEPS
from codec_models.networks.architecture import Architecture
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.entropy import CACHED, ScaleLikelihood, gather_step, scatter_step
from codec_models.networks.integer import IntegerConv2d, set_exact

SMALL = Architecture(
    latents=32,
    hyper_latents=8,
    width8=16,
    width16=32,
    hyper_width=16,
    parameter_width=48,
    context_width=64,
    context_blocks=1,
    anchors=3,
)


def test_entropy_parameters_are_identical_in_float32_and_float64():
    torch.manual_seed(0)
    model = CompressionModel(SMALL).eval()
    for step in model.context_steps:
        torch.nn.init.normal_(step.blocks[0].contract.weight, std=0.1)  # zero in a fresh model
    set_exact(model, True)
    z_hat = torch.randint(-255, 256, (1, 8, 5, 6)).float()
    quality_level = torch.full((1, 1, 1, 1), 201.0)
    decoded = torch.randint(-5000, 5000, (1, 32, 20, 24)).float()
    double_model = copy.deepcopy(model).double()
    with torch.no_grad():
        features = model.h_s(z_hat, quality_level)
        assert torch.equal(features.double(), double_model.h_s(z_hat.double(), quality_level.double()))
        for step, double_step in zip(model.context_steps, double_model.context_steps, strict=True):
            step_features = features.chunk(STEPS, 1)[step.step]
            outputs = step(step_features, decoded)
            double_outputs = double_step(step_features.double(), decoded.double())
            for x, y in zip(outputs, double_outputs, strict=True):
                assert torch.equal(x.double(), y) and torch.equal(x, x.round())


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_the_exactness_bound_holds_whatever_the_weights(scale):
    torch.manual_seed(0)
    layer = IntegerConv2d(64, 16, in_max=1023, in_shift=6, out_shift=6)
    with torch.no_grad():
        layer.weight.mul_(scale)
        layer.bias.normal_(std=scale)
    assert layer.proof() < 2**24


def test_the_proof_fails_loudly_where_the_bound_does_not_hold(monkeypatch):
    layer = IntegerConv2d(64, 16, in_max=1023, in_shift=6, out_shift=6)
    ones = torch.full((16, 64, 1, 1), 4096.0), torch.zeros(16), torch.zeros(16)
    monkeypatch.setattr(layer, "rounded", lambda: ones)
    with pytest.raises(ValueError, match="2\\*\\*24"):
        layer.proof()


def test_the_steps_cover_every_latent_once():
    x = torch.randn(2, 32, 4, 6)
    steps = [gather_step(x.chunk(STEPS, dim=1), step) for step in range(STEPS)]
    assert all(gathered.shape == (2, 32, 2, 3) for gathered in steps)
    assert torch.equal(sum(scatter_step(gathered, x, step) for step, gathered in enumerate(steps)), x)


def test_positions_outside_of_odd_sizes_are_zero():
    x = torch.randn(1, 32, 5, 7)
    steps = torch.cat([gather_step(x.chunk(STEPS, dim=1), step) for step in range(STEPS)])
    assert steps.shape == (STEPS, 32, 3, 4)
    assert torch.equal(steps[steps != 0].sort()[0], x.flatten().sort()[0])


@pytest.mark.parametrize("mixture", [None, [0.5, 0.2, 0.2, 0.1]])
def test_the_rate_gradient_agrees_with_finite_differences(mixture):
    torch.manual_seed(0)
    likelihood = ScaleLikelihood().double()
    likelihood.mixture = None if mixture is None else torch.tensor(mixture).repeat(SCALE_LEVELS, 1)
    residual = torch.randn(20, dtype=torch.float64, requires_grad=True)
    # Away from halves, where the mixture of the next scale index takes over.
    index = (torch.randint(15, 35, (20,)) + 0.6 * torch.rand(20, dtype=torch.float64) - 0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda r, i: -torch.log2(likelihood(r, i)), (residual, index), atol=1e-5)


def test_likelihoods_do_not_depend_on_how_many_are_computed_at_once():
    torch.manual_seed(0)
    likelihood = ScaleLikelihood()
    residual, index = torch.randn(2, CACHED), 40 * torch.rand(2, CACHED)
    assert torch.equal(likelihood(residual, index)[1], likelihood(residual[1], index[1]))
