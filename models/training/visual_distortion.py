"""The visual distortion: how visible an error is, after SSIMULACRA 2 (Sneyers 2022, version 2.1).

Structure at several scales (Wang, Simoncelli, Bovik 2003) and the strength of edges are compared in XYB, the opponent
colour space with a cube-root response of JPEG XL. Detail that is lost counts beside detail that is invented. The result
is the weighted sum of SSIMULACRA 2's 108 terms before its final polynomial, over as many of its six scales as a crop
allows. A share of squared error holds colours.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

SSIM_CONSTANT = 0.0009
"""C2 of SSIM: keeps the quotient of variances from zero."""
SCALES, MIN_SIDE = 6, 8
"""Scales, each of half the size; those below the second in pixels are left out."""
SIGMA, RADIUS = 1.5, 5
"""Of the Gaussian window, in pixels."""
OPSIN = ((0.30, 0.622, 0.078), (0.23, 0.692, 0.078), (0.24342268924547819, 0.20476744424496821, 0.5518098665095536))
"""Linear RGB to the responses of the three cones."""
OPSIN_BIAS = 0.0037930732552754493
STRUCTURE_SHARE, STRUCTURE_UNIT = 0.8, 12.8
"""The share of the structural error in the distortion, and its unit: it makes it about as large as 255^2 * MSE on
photographs at middle rates, so that one scale of lambda serves both distortions."""
WEIGHTS = (
    (
        (0.0, 0.0007376606707406586, 0.0, 0.0, 0.0007793481682867309, 0.0),
        (0.0, 0.0004371155730107379, 0.0, 1.1041726426657346, 0.00066284834129271, 0.00015231632783718752),
        (0.0, 0.0016406437456599754, 0.0, 1.8422455520539298, 11.441172603757666, 0.0),
        (0.0007989109436015163, 0.000176816438078653, 0.0, 1.8787594979546387, 10.94906990605142, 0.0),
        (
            0.0007289346991508072,
            0.9677937080626833,
            0.0,
            0.00014003424285435884,
            0.9981766977854967,
            0.00031949755934435053,
        ),
        (0.0004550992113792063, 0.0, 0.0, 0.0013648766163243398, 0.0, 0.0),
    ),
    (
        (0.0, 0.0, 0.0, 7.466890328078848, 0.0, 17.445833984131262),
        (0.0006235601634041466, 0.0, 0.0, 6.683678146179332, 0.00037724407979611296, 1.027889937768264),
        (225.20515300849274, 0.0, 0.0, 19.213238186143016, 0.0011401524586618361, 0.001237755635509985),
        (176.39317598450694, 0.0, 0.0, 24.43300999870476, 0.28520802612117757, 0.0004485436923833408),
        (0.0, 0.0, 0.0, 34.77906344483772, 44.835625328877896, 0.0),
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ),
    (
        (0.0, 0.0008680556573291698, 0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0005313191874358747, 0.0, 0.00016533814161379112, 0.0, 0.0),
        (0.0, 0.0, 0.0, 0.0004179171803251336, 0.0017290828234722833, 0.0),
        (0.0020827005846636437, 0.0, 0.0, 8.826982764996862, 23.19243343998926, 0.0),
        (
            95.1080498811086,
            0.9863978034400682,
            0.9834382792465353,
            0.0012286405048278493,
            171.2667255897307,
            0.9807858872435379,
        ),
        (0.0, 0.0, 0.0, 0.0005130064588990679, 0.0, 0.00010854057858411537),
    ),
)
"""For each channel (X, Y, B) and scale: the weights of the means of structure lost, edges invented, edges lost; then
those of their 4-norms."""


def visual_distortion(x_hat: Tensor, x: Tensor, mse: Tensor) -> Tensor:
    """What takes the place of 255^2 * ``mse`` (B,) in the loss: (B,). Pictures (B, 3, H, W) are sRGB in [0, 1]."""
    structure = STRUCTURE_UNIT * structural_error(x_hat, x)
    return (1 - STRUCTURE_SHARE) * 255**2 * mse + STRUCTURE_SHARE * structure


def structural_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """The weighted sum of terms (B,), nearly 0 for equal pictures (B, 3, H, W) in sRGB, [0, 1]."""
    weights = torch.tensor(WEIGHTS, device=x.device, dtype=x.dtype)
    original, decoded = _linear(x), _linear(x_hat)
    total = x.new_zeros(len(x))
    for scale in range(SCALES):
        if min(original.shape[2:]) < MIN_SIDE:
            break
        total = total + (_terms(_xyb(original), _xyb(decoded)) * weights[:, scale]).sum((1, 2))
        original, decoded = functional.avg_pool2d(original, 2), functional.avg_pool2d(decoded, 2)
    return total


def _terms(a: Tensor, b: Tensor) -> Tensor:
    """The six terms of each channel (B, 3, 6), for an original ``a`` and a decoded ``b`` (B, 3, H, W) in XYB."""
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a = _blur(a * a) - mean_a * mean_a
    variance_b = _blur(b * b) - mean_b * mean_b
    covariance = _blur(a * b) - mean_a * mean_b
    luminance = 1 - (mean_a - mean_b).square()
    structure = (2 * covariance + SSIM_CONSTANT) / (variance_a + variance_b + SSIM_CONSTANT)
    edges = (1 + (b - mean_b).abs()) / (1 + (a - mean_a).abs()) - 1
    maps = ((1 - luminance * structure).relu(), edges.relu(), (-edges).relu())
    means = [values.mean((2, 3)) for values in maps]
    norms = [(values.pow(4).mean((2, 3)) + 1e-12).pow(0.25) for values in maps]  # the sum: no gradient is infinite
    return torch.stack(means + norms, 2)


def _linear(x: Tensor) -> Tensor:
    """sRGB to linear light."""
    x = x.clamp(0, 1)
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def _xyb(linear: Tensor) -> Tensor:
    """Linear RGB (B, 3, H, W) to XYB, scaled and shifted to positive values as SSIMULACRA 2 does."""
    matrix = torch.tensor(OPSIN, device=linear.device, dtype=linear.dtype)
    cones = torch.einsum("ij,bjhw->bihw", matrix, linear) + OPSIN_BIAS
    long, medium, short = (cones.pow(1 / 3) - OPSIN_BIAS ** (1 / 3)).unbind(1)
    y = 0.5 * (long + medium)
    return torch.stack([7 * (long - medium) + 0.42, y + 0.01, short - y + 0.55], 1)


def _blur(x: Tensor) -> Tensor:
    """A Gaussian blur as two products with banded matrices: depthwise convolutions have a slow gradient on a CPU."""
    rows, columns = (_blur_matrix(side, x.device, x.dtype) for side in x.shape[2:])
    return rows @ x @ columns.T


@cache
def _blur_matrix(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Each row is the window around one position, cut at the edges and scaled to the sum 1."""
    positions = torch.arange(side, dtype=torch.float64)
    distances = positions[:, None] - positions
    weights = torch.exp(-0.5 * (distances / SIGMA) ** 2) * (distances.abs() <= RADIUS)
    return (weights / weights.sum(1, keepdim=True)).to(device, dtype)
