"""The training recipe: one frozen dataclass, read from TOML, stored beside the weights."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path

from codec.entropy.constants import lambda_at
from codec_models.networks.architecture import Architecture
from codec_models.quantization import MODES
from codec_models.quantization.scalar import SCALAR_MODES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECIPES = Path(__file__).parent / "recipes"
SIDE = (64, 8192)
COUNT = (1, 1 << 16)
SHARE = (0.0, 1.0)
RANGES = {
    "steps": (1, 10**9),
    "hours": (0.0, 1e5),
    "batch": COUNT,
    "crop": SIDE,
    "late_batch": COUNT,
    "late_crop": SIDE,
    "late_from": SHARE,
    "exact_from": SHARE,
    "learning_rate": (1e-12, 1.0),
    "warmup": SHARE,
    "transforms_from": SHARE,
    "transform_rate": (0.0, 100.0),
    "rotation_rate": (0.0, 100.0),
    "decay_from": SHARE,
    "final_rate": (1e-9, 1.0),
    "weight_decay": SHARE,
    "clip_norm": (1e-9, 1e9),
    "ema_decay": SHARE,
    "lambda_min": (1e-9, 1e3),
    "lambda_max": (1e-9, 1e3),
    "downscale": SHARE,
    "refined": SHARE,
    "seed": (0, (1 << 32) - 1),
}
"""Of every number in a recipe, the least and the largest value."""
MOST_PIXELS = 1 << 26
"""In a batch."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    ``steps`` is the length of training; with ``hours`` above 0 the schedule follows the clock instead.
    Fractions are of the whole training. The loss of a sample drawn at quality q in [0, 1] is
    ``R + lambda(q) * 255^2 * MSE``, lambda in geometric progression from ``lambda_min`` to ``lambda_max``,
    weighted by ``lambda(q) ** -0.5`` to keep the qualities in balance. Of the share ``refined`` of samples, latents
    are refined as encoders do it (see ``simulation``). With ``analysis`` "fixed" instead of "free", g_a and its gains
    stay as they are; with ``post_filters`` "none" instead of "learned", files get none: they take time to decode.
    """

    steps: int = 20000
    hours: float = 0.0
    batch: int = 8
    crop: int = 128
    late_batch: int = 4
    late_crop: int = 192
    late_from: float = 0.85
    exact_from: float = 0.6
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    warmup: float = 0.01
    transforms_from: float = 0.02
    transform_rate: float = 0.5
    rotation_rate: float = 0.01
    decay_from: float = 0.3
    decay: str = "geometric"
    final_rate: float = 0.02
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    lambda_min: float = 0.0006
    lambda_max: float = 0.13
    quantization: str = "mixed"
    analysis: str = "free"
    post_filters: str = "learned"
    downscale: float = 0.25
    refined: float = 0.0
    seed: int = 1
    architecture: Architecture = field(default_factory=Architecture)

    def __post_init__(self) -> None:
        for name, (least, largest) in RANGES.items():
            if not least <= getattr(self, name) <= largest:  # nor is what is not a number
                raise ValueError(f"recipe: {name} must be from {least:g} to {largest:g}, not {getattr(self, name)}")
        if self.quantization not in MODES:
            raise ValueError(f"recipe: quantization {self.quantization!r} is not one of {', '.join(MODES)}")
        if self.refined and self.quantization not in SCALAR_MODES:
            raise ValueError(f"recipe: latents of quantization {self.quantization!r} cannot be refined")
        if self.optimizer not in ("adamw", "soap"):
            raise ValueError(f"recipe: optimizer {self.optimizer!r} is neither adamw nor soap")
        if self.decay not in ("geometric", "linear"):
            raise ValueError(f"recipe: decay {self.decay!r} is neither geometric nor linear")
        if self.analysis not in ("free", "fixed"):
            raise ValueError(f"recipe: analysis {self.analysis!r} is neither free nor fixed")
        if self.post_filters not in ("learned", "none"):
            raise ValueError(f"recipe: post_filters {self.post_filters!r} is neither learned nor none")
        if self.crop % 64 or self.late_crop % 64:
            raise ValueError("recipe: crops must be multiples of 64 pixels")
        if max(self.batch * self.crop**2, self.late_batch * self.late_crop**2) > MOST_PIXELS:
            raise ValueError(f"recipe: batches of over {MOST_PIXELS} pixels")
        if not self.lambda_min < self.lambda_max:
            raise ValueError("recipe: lambda_min must be below lambda_max")

    def lambda_at(self, quality):
        """lambda for a quality in [0, 1], a number or a tensor."""
        return lambda_at(self.lambda_min, self.lambda_max, quality)

    def learning_rate_at(self, progress: float, group: str = "entropy") -> float:
        """Linear warm-up, a plateau, and a geometric or linear decay to ``final_rate`` of the peak.

        ``group`` "transform" starts at ``transforms_from``, when the entropy model has learned what the
        starting transforms give it, and learns at ``transform_rate`` of the others; "rotation" (their linear
        layers) as well, at ``rotation_rate``: an error of 1 % in the direction of mean brightness is many
        quantisation steps elsewhere.
        """
        start = 0.0 if group == "entropy" else self.transforms_from
        warm = min(1.0, max(0.0, progress - start + 1e-6) / (self.warmup + 1e-6))
        late = min(1.0, max(0.0, (progress - self.decay_from) / max(1e-6, 1 - self.decay_from)))
        share = {"entropy": 1.0, "transform": self.transform_rate, "rotation": self.rotation_rate}[group]
        decayed = self.final_rate**late if self.decay == "geometric" else 1 - late * (1 - self.final_rate)
        return self.learning_rate * share * warm * decayed


def recipe_from_dict(values: dict) -> Recipe:
    """A checked recipe from plain values. Raises ValueError for unknown names and wrong types."""
    values = dict(values)
    names = {f.name: f.type for f in dataclasses.fields(Recipe)}
    for name, value in values.items():
        if name not in names:
            raise ValueError(f"recipe: there is no setting {name!r}")
        wanted = {"int": (int,), "float": (int, float), "str": (str,), "Architecture": (dict,)}[names[name]]
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(f"recipe: {name} must be {names[name]}, not {value!r}")
    if "architecture" in values:
        known = {f.name for f in dataclasses.fields(Architecture)}
        unknown = set(values["architecture"]) - known
        if unknown:
            raise ValueError(f"recipe: the architecture has no {', '.join(sorted(unknown))}")
        values["architecture"] = Architecture(**values["architecture"])
    return Recipe(**values)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file. Raises ValueError when it is not TOML or holds anything but known settings."""
    try:
        return recipe_from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from error
