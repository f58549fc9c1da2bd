import copy

import pytest
import torch

from models.architecture import Architecture
from models.compression_model import CompressionModel
from models.entropy import ScaleLikelihood, step_masks
from models.integer import IntegerConv2d, set_exact

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
        torch.nn.init.normal_(step.blocks[0].contract.weight, std=0.1)  # it starts with zeros
    set_exact(model, True)
    z_hat = torch.randint(-255, 256, (1, 8, 5, 6)).float()
    level = torch.full((1, 1, 1, 1), 201.0)
    decoded = torch.randint(-5000, 5000, (1, 32, 20, 24)).float()
    with torch.no_grad():
        for dtype_model in (copy.deepcopy(model).double(),):
            features = model.h_s(z_hat, level)
            assert torch.equal(features.double(), dtype_model.h_s(z_hat.double(), level.double()))
            for k, (a, b) in enumerate(zip(model.context_steps, dtype_model.context_steps, strict=True)):
                part = features.chunk(4, 1)[k]
                for x, y in zip(a(part, decoded), b(part.double(), decoded.double()), strict=True):
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


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 7)])
def test_the_steps_cover_every_latent_once(size):
    masks = step_masks(32, *size, torch.device("cpu"))
    assert torch.equal(masks.sum(0), torch.ones(1, 32, *size))


def test_the_rate_gradient_agrees_with_finite_differences():
    torch.manual_seed(0)
    likelihood = ScaleLikelihood().double()
    residual = torch.randn(20, dtype=torch.float64, requires_grad=True)
    index = (torch.rand(20, dtype=torch.float64) * 20 + 15).requires_grad_()
    assert torch.autograd.gradcheck(lambda r, i: -torch.log2(likelihood(r, i)), (residual, index), atol=1e-5)
