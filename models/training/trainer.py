"""A model in training: batch, forward pass, loss, step, average, checkpoint, and the fits at the end."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor

from codec_models.networks.compression_model import Compressed, CompressionModel, psnr, rate_distortion
from codec_models.networks.integer import set_exact
from codec_models.training.checkpoint import restoring, save_checkpoint
from codec_models.training.cuda_graph import CapturedGradients, compile_parts
from codec_models.training.data import random_batch
from codec_models.training.device import accelerator_of, fast_precision, full_float32
from codec_models.training.ema import make_average
from codec_models.training.encoder_simulation import EncoderSimulation, simulate_encoder
from codec_models.training.fit_mixture import count_symbols, mixture_weights
from codec_models.training.fit_post_filters import crop_statistics, principal_filters
from codec_models.training.initial_weights import load_earlier_weights
from codec_models.training.klt_init import init_from_principal_components
from codec_models.training.optimizer import make_optimizer
from codec_models.training.recipe import Recipe
from codec_models.training.schedule import set_learning_rates
from codec_models.training.visual_distortion import visual_distortion


@dataclass
class Progress:
    """How much of a training is done."""

    step: int = 0
    seconds: float = 0.0

    def fraction(self, recipe: Recipe) -> float:
        """The fraction that is done, in [0, 1]: of the recipe's hours if it has any, else of its steps."""
        done = self.seconds / (recipe.hours * 3600) if recipe.hours > 0 else self.step / recipe.steps
        return min(1.0, done)


class Trainer:
    """The state of a training: the model, the average of its weights, the optimiser, the random generators.

    Args:
        recipe: of the training.
        pictures: uint8 (3, H, W) each.
        device: one of ``device.DEVICES``.
        saved: the state in a checkpoint of this training, to resume it.
        start_from: a checkpoint or model file of another training. Its weights are used instead of principal
            components.

    Raises:
        ValueError: when ``saved`` does not fit the recipe, or ``start_from`` cannot be used.
        ModelError: when ``start_from`` is not a model file.
    """

    def __init__(
        self,
        recipe: Recipe,
        pictures: list[Tensor],
        device: str,
        saved: dict | None = None,
        start_from: Path | None = None,
    ) -> None:
        warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
        self.recipe = recipe
        self.fabric = Fabric(accelerator=accelerator_of(device), devices=1, precision=fast_precision(device))
        self.fabric.seed_everything(recipe.seed, verbose=False)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = True  # 11 bits are enough for gradients
        self.generator = torch.Generator().manual_seed(recipe.seed)  # of crops
        self.progress = Progress()
        self.mixture: Tensor | None = None
        self.filters: Tensor | None = None
        self.started_from: dict | None = None
        model = CompressionModel(recipe.architecture, recipe.quantization)
        if start_from is not None:
            self.started_from = load_earlier_weights(model, start_from, recipe, pictures)
            self.mixture = model.likelihood.mixture
        elif saved is None:
            init_from_principal_components(model, recipe, pictures)
        else:
            self.mixture = model.likelihood.mixture = saved.get("mixture")
        if recipe.analysis == "fixed":
            for part in (model.g_a, model.gain):
                part.requires_grad_(False)
        # Crops are cut on the device: a CPU core is slower at it than an accelerator is at a step.
        self.pictures = [picture.to(self.fabric.device) for picture in pictures]
        self.model = model.to(self.fabric.device, memory_format=torch.channels_last)
        self.average = make_average(self.model, recipe.ema_decay)
        optimizer = make_optimizer(self.model, recipe)
        if saved is not None:
            self._restore(saved, optimizer)
        self.wrapped, self.optimizer = self.fabric.setup(self.model, optimizer)
        self.captured: tuple[tuple, CapturedGradients] | None = None
        if self._is_on_cuda:
            compile_parts(self.model)

    @property
    def _is_on_cuda(self) -> bool:
        return self.fabric.device.type == "cuda"

    @property
    def fraction_done(self) -> float:
        """The fraction of the training that is done, in [0, 1]."""
        return self.progress.fraction(self.recipe)

    def step(self) -> Tensor:
        """Make one optimiser step. Returns the batch's mean bpp, PSNR in dB and loss: (3,), on the device."""
        began = time.monotonic()
        is_exact = self.fraction_done >= self.recipe.exact_from
        set_exact(self.model.train(), is_exact)
        set_learning_rates(self.optimizer, self.recipe, self.fraction_done)
        x, unit_quality = self.batch()
        if x.is_cuda and not self.model.quantizer.follows_progress:
            figures = self._captured_gradients(x, unit_quality, is_exact)
        else:
            figures = self.gradients(x, unit_quality)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.progress.step += 1
        self.progress.seconds += time.monotonic() - began
        return figures

    def batch(self) -> tuple[Tensor, Tensor]:
        """Crops (B, 3, S, S) in [0, 1], and a quality (B,) in [0, 1] for each."""
        r = self.recipe
        count, side = (r.late_batch, r.late_crop) if self.fraction_done >= r.late_from else (r.batch, r.crop)
        x = random_batch(self.pictures, count, side, r.downscale, self.generator)
        # One quality from each of ``count`` equal intervals: batches vary less than with independent qualities. They
        # are drawn on the device, since a copy would wait for it.
        device = self.fabric.device
        return x, (torch.arange(count, device=device) + torch.rand(count, device=device)) / count

    def gradients(self, x: Tensor, unit_quality: Tensor) -> Tensor:
        """Write the gradients of a batch to the parameters. Returns the same as ``step``."""
        self.optimizer.zero_grad()
        with self.fabric.autocast():
            compressed = self.forward(x, unit_quality)
            bpp, mse = rate_distortion(compressed, x)
        is_visual = self.recipe.distortion == "visual"
        distortion = visual_distortion(compressed.x_hat.float(), x, mse) if is_visual else 255**2 * mse
        loss = self.loss(bpp, distortion, unit_quality) + compressed.latents.loss
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.wrapped, self.optimizer, max_norm=self.recipe.clip_norm, error_if_nonfinite=False
        )
        is_broken = ~torch.isfinite(norm)  # a tensor: a bool would wait for the device
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.masked_fill_(is_broken, 0)
        return torch.stack([bpp.detach().mean(), psnr(mse.detach()).mean(), loss.detach()]).float()

    def forward(self, x: Tensor, unit_quality: Tensor) -> Compressed:
        """The model's result for a batch, with the simulated encoder if the recipe says so."""
        simulation = self.draw_simulation(unit_quality)
        if simulation is None:
            return self.model(x, unit_quality, self.fraction_done)
        return simulate_encoder(self.model, simulation, x, unit_quality, self.fraction_done)

    def draw_simulation(self, unit_quality: Tensor) -> EncoderSimulation | None:
        """The encoder simulation for pictures at these qualities (B,), None if no latents are refined."""
        if not self.recipe.refined:
            return None
        lambda_ = 255**2 * self.recipe.lambda_at(unit_quality)
        return EncoderSimulation.draw(self.recipe.refined, lambda_, self.model.likelihood)

    def loss(self, bpp: Tensor, distortion: Tensor, unit_quality: Tensor) -> Tensor:
        """The mean of R + lambda * D, with the recipe's weights, for (B,) each of bpp, distortions and qualities."""
        cost = bpp + self.recipe.lambda_at(unit_quality) * distortion
        return (cost * self.recipe.loss_weight(unit_quality)).mean()

    def save(self, path: Path) -> None:
        """Write a checkpoint, from which the training can be resumed."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "crops": self.generator.get_state(),
            "noise": torch.get_rng_state(),
            "cuda_noise": torch.cuda.get_rng_state(self.fabric.device) if self._is_on_cuda else None,
            "step": self.progress.step,
            "seconds": self.progress.seconds,
            "mixture": self.mixture,
            "filters": self.filters,
            "started_from": self.started_from,
        }
        save_checkpoint(path, self.recipe, state)

    @full_float32()
    def fit(self) -> None:
        """Fit the mixtures of the residuals' distributions, and the post-filters, to the averaged model.

        Vector-quantised models have neither.
        """
        if self.model.quantizer.counts_bits:
            return
        recipe, average = self.recipe, self.average.module.eval()
        set_exact(average, True)
        counts = count_symbols(average, self.pictures, recipe.seed, self.draw_simulation)
        self.mixture = mixture_weights(counts).to(self.fabric.device)
        self.model.likelihood.mixture = average.likelihood.mixture = self.mixture
        if recipe.post_filters == "none":
            return
        trained_crops = self.progress.step * recipe.batch
        statistics = crop_statistics(
            average, self.pictures, trained_crops, recipe.downscale, recipe.seed, self.draw_simulation
        )
        self.filters = torch.from_numpy(principal_filters(statistics))

    def _restore(self, saved: dict, optimizer: torch.optim.Optimizer) -> None:
        with restoring():
            self.model.load_state_dict(saved["model"])
            self.average.load_state_dict(saved["average"])
            optimizer.load_state_dict(saved["optimizer"])
            self.generator.set_state(saved["crops"])
            torch.set_rng_state(saved["noise"])
            if self._is_on_cuda and saved.get("cuda_noise") is not None:
                torch.cuda.set_rng_state(saved["cuda_noise"], self.fabric.device)
        self.progress = Progress(saved["step"], saved["seconds"])
        self.started_from = saved.get("started_from")

    def _captured_gradients(self, x: Tensor, unit_quality: Tensor, is_exact: bool) -> Tensor:
        """``gradients`` from a CUDA graph, which is recorded anew when the shape or the arithmetic changes."""
        kind = (x.shape, is_exact)
        if self.captured is None or self.captured[0] != kind:
            self.captured = None  # frees the memory of the last one
            self.captured = kind, CapturedGradients(self.gradients, x, unit_quality, self.model.parameters())
        return self.captured[1](x, unit_quality).clone()
