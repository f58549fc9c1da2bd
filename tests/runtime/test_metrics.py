"""PSNR and MS-SSIM against their formula and another implementation."""

import numpy as np
import pytest

from codec.metrics import ms_ssim, psnr
from conftest import HAS_TRAIN, made_picture


def test_psnr_of_a_constant_error_is_the_formula():
    a = np.full((8, 8, 3), 100, np.uint8)
    assert psnr(a, a + 5) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(a, a) == 100


@pytest.mark.skipif(not HAS_TRAIN, reason="pytorch_msssim comes with the extra 'train'")
def test_ms_ssim_agrees_with_pytorch_msssim():
    import pytorch_msssim
    import torch

    a = made_picture(200, 231)
    b = (a.astype(int) + np.random.default_rng(0).integers(-20, 20, a.shape)).clip(0, 255).astype(np.uint8)
    tensors = [torch.from_numpy(pixels).permute(2, 0, 1)[None].float() for pixels in (a, b)]
    assert ms_ssim(a, b) == pytest.approx(float(pytorch_msssim.ms_ssim(*tensors, data_range=255)), abs=1e-4)


def test_ms_ssim_is_not_defined_for_pictures_that_five_scales_do_not_fit():
    assert np.isnan(ms_ssim(made_picture(175, 300), made_picture(175, 300)))
    assert ms_ssim(made_picture(176, 176), made_picture(176, 176)) == pytest.approx(1)
