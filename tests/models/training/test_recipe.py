import dataclasses

import pytest

from codec_models.training.recipe import RECIPES, Recipe, load_recipe, recipe_from_dict


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_a_recipe_survives_a_checkpoint(path):
    recipe = load_recipe(path)
    assert recipe_from_dict(dataclasses.asdict(recipe)) == recipe


def test_lambda_ends_are_floats_as_model_files_need_them():
    recipe = recipe_from_dict({"lambda_min": 1, "lambda_max": 2, "hours": 1})
    assert [type(value) for value in (recipe.lambda_min, recipe.lambda_max, recipe.hours)] == [float] * 3


@pytest.mark.parametrize(
    "values",
    [
        {"nonsense": 1},
        {"steps": "many"},
        {"steps": 0},
        {"hours": float("nan")},
        {"batch": 0},
        {"quantization": "magic"},
        {"optimizer": "magic"},
        {"decay": "magic"},
        {"analysis": "magic"},
        {"crop": 100},
        {"crop": 0},
        {"late_crop": 1 << 20},
        {"warmup": -0.1},
        {"ema_decay": 2.0},
        {"lambda_min": 0.1, "lambda_max": 0.1},
        {"seed": 1 << 32},
        {"batch": 1024, "crop": 1024},
    ],
)
def test_a_wrong_recipe_is_refused(values):
    with pytest.raises(ValueError, match="^recipe: .") as error:
        recipe_from_dict(values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values",
    [
        {"latents": 24},
        {"width8": 0},
        {"anchors": 1e3},
        {"context_blocks": 4096},
        {"width8": 64, "synthesis_hidden8": 65},
    ],
)
def test_a_wrong_architecture_is_refused(values):
    with pytest.raises(ValueError, match="architecture"):
        recipe_from_dict({"architecture": values})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nonsense": 1}, "recipe: there is no setting 'nonsense'"),
        ({"batch": 0}, "recipe: batch should be greater than or equal to 1, not 0"),
        ({"steps": 2.5}, "recipe: steps should be a valid integer, not 2.5"),
        ({"lambda_min": 0.1, "lambda_max": 0.1}, "recipe: lambda_min must be below lambda_max"),
        ({"architecture": {"depth": 1}}, "recipe: the architecture has no depth"),
    ],
)
def test_an_error_names_the_setting_and_the_value(values, message):
    with pytest.raises(ValueError) as error:
        recipe_from_dict(values)
    assert str(error.value) == message


def test_a_recipe_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().steps = 1
    with pytest.raises(ValueError, match="steps"):
        dataclasses.replace(Recipe(), steps=0)


def test_a_file_that_is_not_toml_is_refused(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"steps = = 1")
    with pytest.raises(ValueError, match="not a TOML file"):
        load_recipe(path)
