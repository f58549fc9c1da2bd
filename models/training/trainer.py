"""A model in training: what one step is, what a checkpoint holds, and what training starts from."""

from __future__ import annotations

import dataclasses
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor

from codec.networks.model import load_model
from codec_models.networks.compression_model import CompressionModel, rate_distortion
from codec_models.networks.integer import set_exact
from codec_models.training.checkpoint import load_checkpoint, restoring, save_checkpoint
from codec_models.training.cuda_graph import CapturedGradients, compile_parts
from codec_models.training.data import random_batch
from codec_models.training.encoder_simulation import EncoderSimulation, simulate_encoder
from codec_models.training.fit_mixture import count_symbols, mixture_weights
from codec_models.training.fit_post_filters import crop_statistics, principal_filters
from codec_models.training.klt_init import init_from_principal_components
from codec_models.training.model_file_weights import architecture_of, load_model_weights, take_weights
from codec_models.training.optimizer import make_average, make_optimizer, set_learning_rates
from codec_models.training.prune import pruned
from codec_models.training.recipe import Recipe

DEVICES = ("auto", "cpu", "cuda")


@dataclass
class Position:
    """How far training has come."""

    step: int = 0
    seconds: float = 0.0

    def progress(self, recipe: Recipe) -> float:
        """The fraction done, by the clock when the recipe gives hours."""
        done = self.seconds / (recipe.hours * 3600) if recipe.hours > 0 else self.step / recipe.steps
        return min(1.0, done)


class Trainer:
    """A model in training: its weights, their average, the optimiser and the random numbers it draws."""

    def __init__(
        self, recipe: Recipe, pictures: list[Tensor], device: str, saved: dict | None, earlier: Path | None
    ) -> None:
        warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
        self.recipe = recipe
        self.fabric = Fabric(accelerator=device, devices=1, precision=fast_precision(device))
        self.fabric.seed_everything(recipe.seed, verbose=False)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = True  # weights of 11 bits do for learning
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.position = Position()
        model = CompressionModel(recipe.architecture, recipe.quantization)
        self.mixture: Tensor | None = None
        self.filters: Tensor | None = None
        self.started_from: dict | None = None
        if earlier is not None:
            self.started_from = load_weights(model, earlier, recipe, pictures)
            self.mixture = model.likelihood.mixture
        elif saved is None:
            init_from_principal_components(model, recipe, pictures)
        else:
            self.mixture = model.likelihood.mixture = saved.get("mixture")
        if recipe.analysis == "fixed":
            for part in (model.g_a, model.gain):
                part.requires_grad_(False)
        # On an accelerator crops are cut there: a core cannot cut them as fast as it takes them.
        self.pictures = [picture.to(self.fabric.device) for picture in pictures]
        self.model = model.to(self.fabric.device, memory_format=torch.channels_last)
        self.average = make_average(self.model, recipe)
        optimizer = make_optimizer(self.model, recipe)
        if saved is not None:
            with restoring():
                self.model.load_state_dict(saved["model"])
                self.average.load_state_dict(saved["average"])
                optimizer.load_state_dict(saved["optimizer"])
                self.generator.set_state(saved["crops"])
                torch.set_rng_state(saved["noise"])
            self.position = Position(saved["step"], saved["seconds"])
            self.started_from = saved.get("started_from")
        self.wrapped, self.optimizer = self.fabric.setup(self.model, optimizer)
        self.captured: tuple[tuple, CapturedGradients] | None = None
        if self.fabric.device.type == "cuda":
            compile_parts(self.model)

    @property
    def progress(self) -> float:
        """The fraction of the training that is done."""
        return self.position.progress(self.recipe)

    def save(self, path: Path) -> None:
        """Write a checkpoint that the training can go on from."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "crops": self.generator.get_state(),
            "noise": torch.get_rng_state(),
            "step": self.position.step,
            "seconds": self.position.seconds,
            "mixture": self.mixture,
            "filters": self.filters,
            "started_from": self.started_from,
        }
        save_checkpoint(path, self.recipe, state)

    def fit(self) -> None:
        """Fit what is not trained to what the average, as it stands now, makes of the pictures.

        These are the distributions of residuals, and the filters of which post-filters are sums, if any are wanted.
        """
        if self.model.quantizer.counts_bits:  # vectors have distributions of their own, and are not refined
            return
        torch.backends.cudnn.allow_tf32 = False  # 11 bits: sums of integers would not be exact
        recipe, average = self.recipe, self.average.module.eval()
        set_exact(average, True)
        self.mixture = mixture_weights(count_symbols(average, self.pictures, recipe.seed, self.simulation))
        self.mixture = self.mixture.to(self.fabric.device)
        self.model.likelihood.mixture = average.likelihood.mixture = self.mixture
        if recipe.post_filters == "none":
            return
        trained_on = self.position.step * recipe.batch
        seen = crop_statistics(average, self.pictures, trained_on, recipe.downscale, recipe.seed, self.simulation)
        self.filters = torch.from_numpy(principal_filters(seen))

    def batch(self) -> tuple[Tensor, Tensor]:
        """Crops (B, 3, S, S) in [0, 1], and a quality (B,) in [0, 1] for each."""
        r = self.recipe
        count, side = (r.late_batch, r.late_crop) if self.progress >= r.late_from else (r.batch, r.crop)
        x = random_batch(self.pictures, count, side, r.downscale, self.generator)
        # One quality from each of ``count`` equal ranges: batches differ less than with independent draws.
        # Drawn where they are needed: a copy would wait until an accelerator has done what it was told.
        device = self.fabric.device
        return x, (torch.arange(count, device=device) + torch.rand(count, device=device)) / count

    def simulation(self, quality: Tensor) -> EncoderSimulation | None:
        """How the latents of pictures of these qualities (B,) are refined."""
        if not self.recipe.refined:
            return None
        weight = 255**2 * self.recipe.lambda_at(quality)
        return EncoderSimulation.drawn(self.recipe.refined, weight, self.model.likelihood)

    def step(self) -> Tensor:
        """One step of the optimiser: the batch's mean bpp, PSNR in dB, and loss, as one tensor."""
        began = time.monotonic()
        recipe, progress = self.recipe, self.progress
        exact = progress >= recipe.exact_from
        set_exact(self.model, exact)
        set_learning_rates(self.optimizer, recipe, progress)
        self.model.train()
        x, quality = self.batch()
        if x.is_cuda and not self.model.quantizer.follows_progress:
            kind = (x.shape, exact)
            if self.captured is None or self.captured[0] != kind:
                self.captured = None  # its memory is needed
                self.captured = kind, CapturedGradients(self.gradients, x, quality, self.model.parameters())
            figures = self.captured[1](x, quality).clone()
        else:
            figures = self.gradients(x, quality)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.position.step += 1
        self.position.seconds += time.monotonic() - began
        return figures

    def gradients(self, x: Tensor, quality: Tensor) -> Tensor:
        """Leave the gradients of a batch in the parameters; returns what ``step`` does."""
        recipe = self.recipe
        self.optimizer.zero_grad()
        with self.fabric.autocast():
            simulation = self.simulation(quality)
            if simulation is None:
                compressed = self.model(x, quality, self.progress)
            else:
                compressed = simulate_encoder(self.model, simulation, x, quality, self.progress)
            bpp, mse = rate_distortion(compressed, x)
        weight = recipe.lambda_at(quality)
        balance = (weight / recipe.lambda_at(0.5)) ** -0.5
        loss = ((bpp + weight * 255**2 * mse) * balance).mean() + compressed.latents.loss
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.wrapped, self.optimizer, max_norm=recipe.clip_norm, error_if_nonfinite=False
        )
        is_broken = ~torch.isfinite(norm)  # stays on the device: to ask would be to wait for it
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.masked_fill_(is_broken, 0)
        psnr = -10 * torch.log10(mse.detach().clamp(min=1e-10))
        return torch.stack([bpp.detach().mean(), psnr.mean(), loss.detach()]).float()


def check_device(device: str) -> None:
    """Raises ValueError when ``device`` is not auto, cpu or cuda, or is not there."""
    if device not in DEVICES:
        raise ValueError(f"device {device!r} is not one of {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: torch finds no accelerator on this machine")


def fast_precision(device: str) -> str:
    """Fabric's name for bfloat16 where ``device`` (auto, cpu or cuda) computes in it, else for float32.

    A CPU without instructions for bfloat16 takes six times as long with it.
    """
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return "bf16-mixed"
    found = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16-mixed" if found.get("avx512_bf16") or found.get("bf16") else "32-true"


def load_weights(model: CompressionModel, earlier: Path, recipe: Recipe, pictures: list[Tensor]) -> dict:
    """Give ``model`` the weights that an earlier training ended with; returns what that training was.

    ``earlier`` is its checkpoint, or the model file that came of it. ``model`` may have more blocks, or fewer of
    them, and fewer channels inside those of its synthesis (see ``slim``).

    Raises:
        ValueError: when the file cannot be read, or is of an architecture that is not the model's in all else.
    """
    init_from_principal_components(model, recipe, pictures)  # for blocks that only the new model has
    if earlier.suffix == ".nicm":
        file = load_model(earlier)
        before = CompressionModel(architecture_of(file))
        init_from_principal_components(before, recipe, pictures)  # for what a model file does not say
        load_model_weights(before, file)
        facts = {key: file.metadata.get(key) for key in ("steps", "hours", "recipe", "started_from")}
    else:
        saved_recipe, saved = load_checkpoint(earlier)
        before = CompressionModel(saved_recipe.architecture, saved_recipe.quantization)
        with restoring():
            before.load_state_dict(saved["model"])
        before.likelihood.mixture = saved.get("mixture")
        facts = {
            "steps": saved["step"],
            "hours": round(saved["seconds"] / 3600, 3),
            "recipe": dataclasses.asdict(saved_recipe),
            "started_from": saved.get("started_from"),
        }
    take_weights(model, pruned(before, model.architecture, recipe, pictures))
    return facts
