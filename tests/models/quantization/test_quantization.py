import numpy as np
import pytest
import torch

from codec.entropy.constants import MEAN_SHIFT
from codec_models.quantization import MODES, make_quantizer
from codec_models.quantization.scalar import ScalarQuantizer
from codec_models.quantization.straight_through import (
    add_noise,
    quantize_sign,
    quantize_ternary,
    soft_round,
    ste_argmax,
    ste_round,
)
from codec_models.quantization.vector import VectorQuantizer


@pytest.mark.parametrize("function", [ste_round, quantize_sign, quantize_ternary])
def test_the_straight_through_gradient_is_the_identity(function):
    x = torch.linspace(-3, 3, 41, requires_grad=True)
    upstream = torch.randn(41, generator=torch.Generator().manual_seed(0))
    function(x).backward(upstream)
    assert torch.equal(x.grad, upstream)


def test_forward_values_are_hard():
    x = torch.tensor([-1.6, -0.4, 0.0, 0.4, 0.6])
    assert ste_round(x).tolist() == [-2, 0, 0, 0, 1]
    assert quantize_sign(x).tolist() == [-1, -1, 1, 1, 1]
    assert quantize_ternary(x).tolist() == [-1, 0, 0, 0, 1]
    assert torch.allclose(ste_argmax(x), torch.tensor([0.0, 0, 0, 0, 1]), atol=1e-6)


def test_the_argmax_gradient_is_the_softmax_gradient():
    x = torch.randn(6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.arange(6.0)
    (ste_argmax(x) * weights).sum().backward()
    y = x.detach().clone().requires_grad_()
    (y.softmax(-1) * weights).sum().backward()
    assert torch.allclose(x.grad, y.grad)


def test_soft_rounding_goes_from_the_identity_to_rounding_through_all_integers_and_halves():
    x = torch.linspace(-3, 3, 43)
    torch.testing.assert_close(soft_round(x, 1e-3), x, atol=1e-5, rtol=0)
    is_near_half = ((x - x.floor()) - 0.5).abs() < 0.1
    torch.testing.assert_close(soft_round(x, 100.0)[~is_near_half], x.round()[~is_near_half], atol=1e-5, rtol=0)
    for alpha in (0.5, 5.0, 50.0):
        halves = torch.arange(-6, 7) / 2
        torch.testing.assert_close(soft_round(halves, alpha), halves)


def test_noise_is_uniform_over_one_step_and_passes_the_gradient_on():
    torch.manual_seed(0)
    x = torch.zeros(100_000, requires_grad=True)
    noisy = add_noise(x)
    assert -0.5 <= noisy.min() < -0.499 and 0.499 < noisy.max() < 0.5
    assert abs(noisy.mean()) < 0.005 and abs(noisy.var() - 1 / 12) < 0.001
    noisy.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_trains_and_rounds_near_the_input(mode):
    torch.manual_seed(0)
    quantizer = make_quantizer(mode)
    y = torch.randn(2, 16, 4, 4, requires_grad=True)
    scale_index = torch.full_like(y, 9)
    hard = quantizer.eval()(y, torch.full_like(y, 0.25), scale_index).values.detach()
    quantized = quantizer.train()(y, torch.zeros_like(y), scale_index, progress=0.5)
    quantized.values.sum().backward()
    assert quantized.values.shape == y.shape and y.grad.isfinite().all() and y.grad.abs().sum() > 0
    if mode.startswith("vq"):
        assert (hard - y).square().mean() < 0.3 * y.var()
    else:
        assert torch.equal(hard, 0.25 + torch.round(y.detach() - 0.25))


def test_codewords_are_those_of_a_model_file_at_every_evaluation():
    quantizer = make_quantizer("vq").eval()
    y = torch.randn(2, 16, 4, 4)
    for _ in range(2):
        units = 2**MEAN_SHIFT * quantizer(y, torch.zeros_like(y), torch.full_like(y, 9)).values
        assert torch.equal(units, units.round())
        quantizer.codebook.codewords.normal_()  # as an average that follows the training


@pytest.mark.parametrize("make", [ScalarQuantizer, make_quantizer, lambda mode: VectorQuantizer(8, 4, assignment=mode)])
def test_an_unknown_mode_is_refused(make):
    with pytest.raises(ValueError, match="'rounding'"):
        make("rounding")


def test_vector_quantisation_agrees_with_numpy_nearest_neighbours():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(32, 4).eval()
    x = torch.randn(200, 4)
    distances = ((x.numpy()[:, None] - quantizer.codewords.numpy()[None]) ** 2).sum(2)
    assignment = quantizer(x)
    assert np.array_equal(assignment.indices.numpy(), distances.argmin(1))
    assert torch.allclose(assignment.vectors, quantizer.codewords[assignment.indices])


def test_the_vq_gradient_reaches_the_encoder_unchanged_and_the_commitment_moves_only_the_encoder():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(8, 4).eval()
    x = torch.randn(50, 4, requires_grad=True)
    assignment = quantizer(x)
    upstream = torch.randn(50, 4)
    assignment.vectors.backward(upstream, retain_graph=True)
    assert torch.equal(x.grad, upstream)
    x.grad = None
    assignment.loss.backward()
    expected = 0.25 * 2 * (x - quantizer.codewords[assignment.indices]) / x.numel()
    assert torch.allclose(x.grad, expected) and not quantizer.codewords.requires_grad


def test_the_codebook_follows_its_vectors():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(2, 1, decay=0.5)
    x = torch.cat([torch.full((50, 1), -3.0), torch.full((50, 1), 5.0)])
    for _ in range(40):
        quantizer(x)
    assert torch.allclose(quantizer.codewords.sort(0).values.flatten(), torch.tensor([-3.0, 5.0]), atol=1e-3)


def test_an_index_that_costs_more_bits_is_chosen_less_often():
    quantizer = VectorQuantizer(2, 1, rate_weight=0.1).eval()
    quantizer.codewords.copy_(torch.tensor([[-1.0], [1.0]]))
    quantizer.usage.copy_(torch.tensor([[63.0, 1.0]]))  # 0.02 bits and 6 bits
    x = torch.tensor([[-0.1], [0.1], [0.3]])
    assert quantizer(x).indices.tolist() == [0, 0, 1]
    quantizer.rate_weight = 0.0
    assert quantizer(x).indices.tolist() == [0, 1, 1]


def test_classes_have_usage_of_their_own():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(2, 1, classes=2, decay=0.5)
    x = torch.cat([torch.full((50, 1), -3.0), torch.full((50, 1), 5.0)])
    classes = (x[:, 0] > 0).long()
    for _ in range(40):
        in_own_class = quantizer(x, classes)
    assert in_own_class.bits.max() < 0.01
    in_other_class = quantizer.eval()(x, 1 - classes)
    assert in_other_class.bits.min() > 10


def test_the_rate_of_vectors_has_a_gradient_towards_cheaper_codewords():
    quantizer = VectorQuantizer(2, 1, rate_weight=0.1)
    quantizer.codewords.copy_(torch.tensor([[-1.0], [1.0]]))
    quantizer.usage.copy_(torch.tensor([[63.0, 1.0]]))
    x = torch.tensor([[0.2]], requires_grad=True)
    quantizer(x).bits.sum().backward()
    assert x.grad.item() > 0  # descent moves it towards -1
