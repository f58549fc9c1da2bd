"""Quality measures: PSNR and MS-SSIM."""

from __future__ import annotations

import numpy as np

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the five scales, the finest first."""
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
"""The constants of SSIM that keep its quotients from zero, for levels of 0 to 255."""


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB over all channels of two uint8 arrays of one shape; 100 for equal ones."""
    mse = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return 100.0 if mse == 0 else float(10 * np.log10(255**2 / mse))


def _blur(planes: np.ndarray) -> np.ndarray:
    """An 11-tap Gaussian (sigma 1.5) along both last axes of (C, H, W), valid positions only."""
    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (1, 2):
        n = planes.shape[axis] - 10
        planes = sum(t * np.take(planes, range(i, i + n), axis) for i, t in enumerate(taps))
    return planes


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Multi-scale SSIM (Wang, Simoncelli, Bovik 2003) of two uint8 arrays (H, W, 3), averaged over channels.

    NaN for pictures under 176 pixels on a side, which five scales do not fit.
    """
    if min(a.shape[:2]) < 176:
        return float("nan")
    x, y = (p.astype(np.float32).transpose(2, 0, 1) for p in (a, b))
    product = np.ones(x.shape[0])
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        mean_x, mean_y = _blur(x), _blur(y)
        var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
        contrast = (2 * (_blur(x * y) - mean_x * mean_y) + _C2) / (var_x + var_y + _C2)
        if scale == len(MS_SSIM_WEIGHTS) - 1:
            contrast = contrast * (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
        product *= np.maximum(contrast.mean((1, 2)), 0) ** weight
        pads = ((0, 0), (x.shape[1] % 2, 0), (x.shape[2] % 2, 0))
        x, y = (np.pad(p, pads) for p in (x, y))
        x, y = ((p[:, ::2, ::2] + p[:, 1::2, ::2] + p[:, ::2, 1::2] + p[:, 1::2, 1::2]) / 4 for p in (x, y))
    return float(product.mean())
