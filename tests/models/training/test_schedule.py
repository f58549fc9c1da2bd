import pytest

from codec_models.training.recipe import Recipe
from codec_models.training.schedule import learning_rate_at


def test_transforms_wait_for_the_entropy_model_and_all_rates_decay():
    recipe = Recipe()
    early = recipe.transforms_from / 2
    assert learning_rate_at(recipe, early, "entropy") > 0 == learning_rate_at(recipe, early, "transform")
    assert learning_rate_at(recipe, 0.25, "rotation") == pytest.approx(recipe.learning_rate * recipe.rotation_rate)
    for group, factor in (("entropy", 1), ("transform", recipe.transform_rate)):
        final_rate = recipe.learning_rate * factor * recipe.final_rate
        assert learning_rate_at(recipe, 1.0, group) == pytest.approx(final_rate)


def test_a_linear_decay_ends_at_the_rate_of_a_geometric_one_and_is_higher_before():
    linear, geometric = (Recipe(decay=decay) for decay in ("linear", "geometric"))
    middle = (1 + linear.decay_from) / 2
    assert learning_rate_at(linear, middle) == pytest.approx(linear.learning_rate * (1 + linear.final_rate) / 2)
    assert learning_rate_at(linear, middle) > learning_rate_at(geometric, middle)
    for fraction in (linear.decay_from, 1.0):
        assert learning_rate_at(linear, fraction) == pytest.approx(learning_rate_at(geometric, fraction))


def test_a_learning_rate_need_not_decay():
    recipe = Recipe(decay_from=1.0)
    assert learning_rate_at(recipe, 0.5) == learning_rate_at(recipe, 1.0) == recipe.learning_rate
