"""The Bjontegaard delta rate of curves whose difference is known."""

import sys

import numpy as np
import pytest

from codec.errors import MissingPackageError
from codec.evaluation.bd_rate import bd_rate

CURVE = [(0.1, 28.0), (0.2, 30.0), (0.5, 34.0), (1.0, 37.0)]


@pytest.fixture
def library():
    """The package that computes it, which comes with the extras 'eval' and 'test'."""
    pytest.importorskip("bjontegaard", reason="needs the extra eval")


@pytest.mark.usefixtures("library")
def test_a_curve_with_twice_the_rate_has_a_bd_rate_of_100_percent():
    assert bd_rate(CURVE, [(2 * rate, quality) for rate, quality in CURVE]) == pytest.approx(100, abs=1e-6)
    assert bd_rate(CURVE, CURVE) == pytest.approx(0, abs=1e-9)


@pytest.mark.usefixtures("library")
def test_curves_without_a_common_quality_or_with_one_point_have_no_bd_rate():
    assert np.isnan(bd_rate(CURVE, [(0.1, 40.0), (0.2, 42.0)]))
    assert np.isnan(bd_rate(CURVE, [(0.1, 30.0)]))
    assert np.isnan(bd_rate(CURVE, [(0.1, 30.0), (0.2, 30.0)]))
    assert np.isnan(bd_rate([], CURVE))


@pytest.mark.usefixtures("library")
def test_the_order_of_points_does_not_matter_and_of_equal_qualities_the_lowest_rate_counts():
    test = [(2 * rate, quality) for rate, quality in CURVE]
    assert bd_rate(CURVE[::-1], [*test[2:], (9.0, 34.0), *test[:2]]) == pytest.approx(100, abs=1e-6)


@pytest.mark.usefixtures("library")
def test_the_example_of_the_method_has_its_published_bd_rate():
    # The example of Bjontegaard's own spreadsheet; the figure is that of bjontegaard 1.3.0 with method="pchip".
    anchor = [(686.76, 40.28), (309.58, 37.18), (157.11, 34.24), (85.95, 31.42)]
    test = [(893.34, 40.39), (407.8, 37.21), (204.93, 34.17), (112.75, 31.24)]
    assert bd_rate(anchor, test) == pytest.approx(31.380, abs=0.01)


def test_a_missing_library_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bjontegaard", None)
    with pytest.raises(MissingPackageError, match="pip install"):
        bd_rate(CURVE, CURVE)
