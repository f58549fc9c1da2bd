import numpy as np
import pytest
import torch

from codec.entropy.constants import SCALE_LEVELS
from codec.networks.model import load_model
from codec_models.export.frequency_tables import frequency_tables
from codec_models.networks.architecture import Architecture
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.entropy import MULTIPLES, ScaleLikelihood
from codec_models.training.fit_mixture import MAX_RESIDUAL, mixture_of_tables, mixture_weights

INDEX, DEVIATION = 16, 0.788


def counts_of(deviations, total=200_000):
    """Counts of magnitudes at one scale index, of Gaussians with these deviations in equal shares."""
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(0, d, total // len(deviations)) for d in deviations])
    counts = torch.zeros(SCALE_LEVELS, MAX_RESIDUAL + 1, dtype=torch.float64)
    counts[INDEX] += torch.from_numpy(np.bincount(np.abs(np.rint(values)).astype(int), minlength=MAX_RESIDUAL + 1))
    return counts


def test_a_gaussian_source_is_given_a_gaussian_table():
    weights = mixture_weights(counts_of([DEVIATION]))
    assert weights[INDEX, 0] > 0.9
    assert weights[0, 0] > 0.9  # a scale index without symbols keeps the Gaussian of the training


def test_heavy_tails_get_a_wider_gaussian():
    weights = mixture_weights(counts_of([DEVIATION / 2, DEVIATION * 2]))[INDEX]
    assert weights[MULTIPLES.index(0.5)] > 0.3
    assert weights[MULTIPLES.index(2.0)] == pytest.approx(0.5, abs=0.1)
    assert weights[MULTIPLES.index(4.0)] < 0.02


def test_symbols_that_are_nearly_always_zero_cost_nearly_nothing():
    counts = counts_of([DEVIATION])
    counts[0, :2] = torch.tensor([2_000_000.0, 250.0])
    likelihood = ScaleLikelihood()
    likelihood.mixture = mixture_weights(counts)
    zero, one = likelihood(torch.tensor([0.0, 1.0]), torch.zeros(2))
    assert 1 - zero == pytest.approx(250 / 2_000_250, rel=0.3)
    assert 2 * one == pytest.approx(250 / 2_000_250, rel=0.3)


def test_tables_are_symmetric_sum_to_the_total_and_cover_the_tails():
    model = CompressionModel(
        Architecture(latents=16, hyper_latents=8, width8=16, width16=16, hyper_width=16, parameter_width=16)
    )
    plain = frequency_tables(model)
    model.likelihood.mixture = mixture_weights(counts_of([DEVIATION / 2, DEVIATION * 2]))
    fitted = frequency_tables(model)
    assert len(plain["scale"]) == SCALE_LEVELS
    assert len(plain["hyper"]) == 8
    for row in plain["scale"] + fitted["scale"] + plain["hyper"]:
        assert sum(row) == 2**16
        assert min(row) >= 1
    inside = fitted["scale"][INDEX][:-1]
    # The remainder of rounding is added to the most frequent value, which is in the middle.
    assert inside == inside[::-1]
    assert len(fitted["scale"][INDEX]) > len(plain["scale"][INDEX])


def test_the_likelihood_is_that_of_the_tables():
    likelihood = ScaleLikelihood()
    values, index = torch.arange(-5.0, 6.0), torch.full((11,), float(INDEX))
    gaussian = likelihood(values, index)
    likelihood.mixture = mixture_weights(counts_of([DEVIATION / 2, DEVIATION * 2]))
    assert not torch.allclose(likelihood(values, index), gaussian, rtol=0.1)
    model = CompressionModel(
        Architecture(latents=16, hyper_latents=8, width8=16, width16=16, hyper_width=16, parameter_width=16)
    )
    model.likelihood = likelihood
    row = np.array(frequency_tables(model)["scale"][INDEX][:-1]) / 2**16
    middle = len(row) // 2
    assert likelihood(values, index).numpy() == pytest.approx(row[middle - 5 : middle + 6], abs=4e-4)


def test_the_mixture_of_a_model_file_is_that_of_its_tables():
    tables, likelihood = load_model().scale_tables, ScaleLikelihood()
    likelihood.mixture = mixture_of_tables(tables)
    for index in range(0, SCALE_LEVELS, 7):
        shares = tables[index].frequencies[:-1] / 2**16
        values = torch.arange(-tables[index].radius, tables[index].radius + 1.0)
        fitted = likelihood(values, torch.full_like(values, index)).numpy()
        bits = -np.sum(shares * np.log2(shares))
        assert -np.sum(shares * np.log2(fitted)) == pytest.approx(bits, rel=0.005, abs=0.001), index
