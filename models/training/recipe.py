"""The training recipe: checked settings, read from TOML, stored in checkpoints and model files."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from codec.entropy.constants import lambda_at
from codec_models.networks.architecture import Architecture
from codec_models.quantization import MODES
from codec_models.quantization.scalar import SCALAR_MODES

RECIPES = Path(__file__).parent / "recipes"
"""The folder of the recipes that come with the project."""
MAX_BATCH_PIXELS = 1 << 26
"""Pixels in a batch, at most, so that a typing error does not ask for more memory than any machine has."""

# The ranges of settings. Each rejects typing errors, and allows more than any sensible training needs.
BatchSize = Annotated[int, Field(ge=1, le=1 << 16)]
CropSide = Annotated[int, Field(ge=64, le=8192, multiple_of=64)]
Fraction = Annotated[float, Field(ge=0, le=1)]
RateFactor = Annotated[float, Field(ge=0, le=100)]
Lambda = Annotated[float, Field(ge=1e-9, le=1e3)]


def architecture_from_dict(values: object) -> Architecture:
    """A checked architecture from plain values; any other value is returned as it is.

    Raises:
        ValueError: for an unknown name, or a size that is out of range.
    """
    if not isinstance(values, dict):
        return values
    unknown = sorted(set(map(str, values)) - {field.name for field in dataclasses.fields(Architecture)})
    if unknown:
        raise ValueError(f"the architecture has no {', '.join(unknown)}")
    return Architecture(**values)


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class Recipe:
    """How a model is trained.

    The loss of a crop at quality q in [0, 1] is ``R + lambda(q) * 255^2 * MSE``, R in bits per pixel, MSE of pixels in
    [0, 1]. It is weighted by ``lambda(q) ** -0.5``, so that no quality dominates the gradient. ``schedule.py`` says
    what the learning rate is at each step.
    """

    steps: Annotated[int, Field(ge=1, le=10**9)] = 20000
    """Length of the training in optimiser steps, where ``hours`` is 0."""
    hours: Annotated[float, Field(ge=0, le=1e5)] = 0.0
    """Length of the training in hours of computing; 0 counts steps instead."""
    batch: BatchSize = 8
    """Crops in a batch."""
    crop: CropSide = 128
    """Side of a crop in pixels."""
    late_batch: BatchSize = 4
    """Crops in a batch from ``late_from`` on."""
    late_crop: CropSide = 192
    """Side of a crop in pixels from ``late_from`` on."""
    late_from: Fraction = 0.85
    """When batches change to the late sizes, as a fraction of the training."""
    exact_from: Fraction = 0.6
    """When the entropy networks change from real numbers to integer arithmetic, as a fraction of the training."""
    optimizer: Literal["adamw", "soap"] = "adamw"
    """AdamW or SOAP (see ``optimizer.py``)."""
    learning_rate: Annotated[float, Field(ge=1e-12, le=1)] = 2e-3
    """Highest learning rate of the entropy networks."""
    warmup: Fraction = 0.01
    """How long the learning rate rises, as a fraction of the training."""
    transforms_from: Fraction = 0.02
    """When the transforms begin to learn, as a fraction of the training."""
    transform_rate: RateFactor = 0.5
    """Learning rate of the transforms' blocks and gains, as a multiple of ``learning_rate``."""
    rotation_rate: RateFactor = 0.01
    """Learning rate of the transforms' linear layers, as a multiple of ``learning_rate``."""
    decay_from: Fraction = 0.3
    """When the learning rate begins to fall, as a fraction of the training."""
    decay: Literal["geometric", "linear"] = "geometric"
    """How the learning rate falls."""
    final_rate: Annotated[float, Field(ge=1e-9, le=1)] = 0.02
    """Learning rate at the end, as a multiple of the highest."""
    weight_decay: Fraction = 0.0
    """AdamW's decoupled weight decay, per step and unit of learning rate."""
    clip_norm: Annotated[float, Field(ge=1e-9, le=1e9)] = 1.0
    """Norm above which the gradient of a batch is scaled down."""
    ema_decay: Fraction = 0.998
    """Decay per step of the moving average of the weights."""
    lambda_min: Lambda = 0.0006
    """lambda at quality 0, in bits per pixel for each unit of squared error of 8-bit pixels."""
    lambda_max: Lambda = 0.13
    """lambda at quality 1; between the two, lambda is a geometric progression."""
    quantization: Literal[MODES] = "mixed"
    """How gradients pass the quantisation (see ``codec_models.quantization``)."""
    analysis: Literal["free", "fixed"] = "free"
    """Whether g_a and its gains learn ("free") or keep the weights that they start with ("fixed")."""
    post_filters: Literal["learned", "none"] = "learned"
    """Whether post-filters are fitted when the training ends. They take time in each decoding."""
    downscale: Fraction = 0.25
    """Probability that a crop is scaled down from a larger area."""
    distortion: Literal["mse", "visual"] = "mse"
    """What is traded against the rate: squared error, or what people see (see ``visual_distortion.py``)."""
    refined: Fraction = 0.0
    """Share of the crops whose latents the simulated encoder refines (see ``encoder_simulation.py``)."""
    seed: Annotated[int, Field(ge=0, le=(1 << 32) - 1)] = 1
    """Seed of all random numbers."""
    architecture: Annotated[InstanceOf[Architecture], BeforeValidator(architecture_from_dict)] = Architecture()
    """Sizes of the networks."""

    @model_validator(mode="after")
    def _reject_contradictions(self) -> Recipe:
        if self.refined and self.quantization not in SCALAR_MODES:
            raise ValueError(f"latents of quantization {self.quantization!r} cannot be refined")
        if max(self.batch * self.crop**2, self.late_batch * self.late_crop**2) > MAX_BATCH_PIXELS:
            raise ValueError(f"a batch must not have more than {MAX_BATCH_PIXELS} pixels")
        if not self.lambda_min < self.lambda_max:
            raise ValueError("lambda_min must be below lambda_max")
        return self

    def lambda_at(self, unit_quality):
        """lambda at a quality in [0, 1], a number or a tensor."""
        return lambda_at(self.lambda_min, self.lambda_max, unit_quality)

    def loss_weight(self, unit_quality):
        """The weight of a crop's loss at a quality in [0, 1], a number or a tensor: 1 at the middle quality."""
        return (self.lambda_at(unit_quality) / self.lambda_at(0.5)) ** -0.5


def recipe_from_dict(values: dict) -> Recipe:
    """A checked recipe from plain values. Raises ValueError, with one line, when they are not a valid recipe."""
    if not all(isinstance(name, str) for name in values):
        raise ValueError("recipe: names of settings must be strings")
    try:
        return Recipe(**values)
    except ValidationError as error:
        raise ValueError(f"recipe: {_first_line(error)}") from error


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Raises:
        ValueError: when it is not TOML, or not a valid recipe.
        OSError: when it cannot be read.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error
    return recipe_from_dict(values)


def _first_line(error: ValidationError) -> str:
    """The first of pydantic's errors as one line for the user."""
    first = error.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "unexpected_keyword_argument":
        return f"there is no setting {name!r}"
    if first["type"] == "value_error":  # raised by this file or by Architecture
        return str(first["ctx"]["error"])
    problem = first["msg"].removeprefix("Input ")
    return f"{name} {problem}, not {first['input']!r}"
