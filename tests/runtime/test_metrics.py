import numpy as np
import pytest

from codec.evaluation.bd_rate import bd_rate
from codec.metrics import ms_ssim, psnr
from conftest import HAS_TRAIN, made_picture


def test_psnr_of_a_constant_error_is_the_formula():
    a = np.full((8, 8, 3), 100, np.uint8)
    assert psnr(a, a + 5) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(a, a) == 100


def test_a_curve_with_twice_the_rate_has_a_bd_rate_of_100_percent():
    curve = [(0.1, 28.0), (0.2, 30.0), (0.5, 34.0), (1.0, 37.0)]
    assert bd_rate(curve, [(2 * r, d) for r, d in curve]) == pytest.approx(100, abs=1e-6)
    assert bd_rate(curve, curve) == pytest.approx(0, abs=1e-9)
    assert np.isnan(bd_rate(curve, [(0.1, 40.0), (0.2, 42.0)]))


def test_bd_rate_agrees_with_a_published_library():
    # The example of Bjontegaard's own spreadsheet; the figure is that of bjontegaard 1.3.0 with method="pchip".
    first = [(686.76, 40.28), (309.58, 37.18), (157.11, 34.24), (85.95, 31.42)]
    second = [(893.34, 40.39), (407.8, 37.21), (204.93, 34.17), (112.75, 31.24)]
    assert bd_rate(first, second) == pytest.approx(31.380, abs=0.01)


@pytest.mark.skipif(not HAS_TRAIN, reason="pytorch_msssim comes with the extra 'train'")
def test_ms_ssim_agrees_with_pytorch_msssim():
    import pytorch_msssim
    import torch

    a = made_picture(200, 231)
    b = (a.astype(int) + np.random.default_rng(0).integers(-20, 20, a.shape)).clip(0, 255).astype(np.uint8)
    tensors = [torch.from_numpy(p).permute(2, 0, 1)[None].float() for p in (a, b)]
    assert ms_ssim(a, b) == pytest.approx(float(pytorch_msssim.ms_ssim(*tensors, data_range=255)), abs=1e-4)
