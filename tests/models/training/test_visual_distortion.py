"""The visual distortion: its gradient, what it counts, and that it agrees with SSIMULACRA 2."""

import numpy as np
import pytest
import torch

from codec_models.training.visual_distortion import structural_error, visual_distortion
from conftest import made_picture


def picture(seed=0, side=64):
    return torch.from_numpy(made_picture(side, side, seed)).permute(2, 0, 1)[None].double() / 255


def noise(amount, seed=0, side=64):
    return amount * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed)).double()


def test_equal_pictures_have_next_to_no_error_and_larger_errors_more():
    x = picture()
    errors = [float(structural_error((x + noise(amount)).clamp(0, 1), x)) for amount in (0, 0.01, 0.03, 0.1)]
    assert errors[0] < 1 and errors == sorted(errors) and errors[-1] > 10 * errors[0]


def test_the_gradient_is_that_of_finite_differences():
    x = picture(1, 32) * 0.8 + 0.1
    x_hat = (x + noise(0.02, 1, 32)).requires_grad_()

    def distortion(x_hat):
        return visual_distortion(x_hat, x, (x_hat - x).square().mean((1, 2, 3))).sum()

    (gradient,) = torch.autograd.grad(distortion(x_hat), x_hat)
    direction = noise(1.0, 2, 32)
    step = 1e-6
    with torch.no_grad():
        difference = (distortion(x_hat + step * direction) - distortion(x_hat - step * direction)) / (2 * step)
    assert torch.isfinite(gradient).all()
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=1e-3)


def test_lost_and_invented_detail_both_count():
    x = picture(2)
    smooth = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    assert float(structural_error(smooth, x)) > 1 and float(structural_error(x, smooth)) > 1


def test_noise_on_a_plain_ground_counts_more_than_on_texture():
    plain = torch.full((1, 3, 64, 64), 0.5).double()
    texture = (plain + noise(0.15, 3)).clamp(0, 1)
    added = noise(0.01, 4)
    assert structural_error(plain + added, plain) > 1.5 * structural_error(texture + added, texture)


def test_its_order_is_that_of_the_scores_of_ssimulacra2(tmp_path):
    ssimulacra2 = pytest.importorskip("ssimulacra2", reason="compared with the package of that name")
    from PIL import Image

    original = made_picture(256, 256)
    Image.fromarray(original).save(tmp_path / "original.png")
    x = torch.from_numpy(original).permute(2, 0, 1)[None].double() / 255
    scores, errors = [], []
    for quality in (10, 30, 60, 90):
        Image.fromarray(original).save(tmp_path / "a.jpg", quality=quality)
        decoded = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB"))
        Image.fromarray(decoded).save(tmp_path / "a.png")
        scores.append(ssimulacra2.compute_ssimulacra2_with_alpha(tmp_path / "original.png", tmp_path / "a.png"))
        decoded = torch.from_numpy(decoded.copy()).permute(2, 0, 1)[None].double() / 255
        errors.append(float(structural_error(decoded, x)))
    assert np.argsort(scores).tolist() == np.argsort(errors)[::-1].tolist()
