"""Training: a folder of pictures to a checkpoint, resumable at any moment."""

from __future__ import annotations

import csv
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from models.checkpoint import load_checkpoint, save_checkpoint
from models.compression_model import CompressionModel
from models.data import load_folder, random_batch
from models.integer import set_exact
from models.layers import Full
from models.recipe import Recipe
from models.start import start_from_principal_components

LOG_EVERY = 50
SAVE_EVERY_SECONDS = 120
VALIDATE_EVERY = 2000
VALIDATION_QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass
class Position:
    """How far training has come."""

    step: int = 0
    seconds: float = 0.0

    def progress(self, recipe: Recipe) -> float:
        """The fraction done, by the clock when the recipe gives hours."""
        done = self.seconds / (recipe.hours * 3600) if recipe.hours > 0 else self.step / recipe.steps
        return min(1.0, done)


@torch.no_grad()
def validate(model: torch.nn.Module, pictures: list[Tensor]) -> list[tuple[float, float, float]]:
    """(quality, bpp, PSNR in dB) with hard rounding and integer arithmetic, on centre crops up to 256 pixels."""
    was_exact = any(getattr(m, "exact", False) for m in model.modules())
    model.eval()
    set_exact(model, True)
    device = next(model.parameters()).device
    rows = []
    for quality in VALIDATION_QUALITIES:
        bits, decibels = [], []
        for picture in pictures:
            side = min(256, *(s // 64 * 64 for s in picture.shape[1:]))
            top, left = ((s - side) // 2 for s in picture.shape[1:])
            x = picture[:, top : top + side, left : left + side].unsqueeze(0).to(device).float() / 255
            bpp, mse, _ = model.rate_distortion(x, torch.full((1,), quality, device=device))
            bits.append(float(bpp))
            decibels.append(-10 * math.log10(max(1e-10, float(mse))))
        rows.append((quality, sum(bits) / len(bits), sum(decibels) / len(decibels)))
    set_exact(model, was_exact)
    return rows


def average_weights(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """The rule of an exponential moving average whose memory grows to ``1 / (1 - decay)`` steps."""

    @torch.no_grad()
    def update(averages: list[Tensor], weights: list[Tensor], updates: Tensor) -> None:
        n = float(updates)
        torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def parameter_groups(model: CompressionModel) -> list[dict]:
    """The parameters in three groups that learn at rates of their own (see ``Recipe.learning_rate_at``)."""
    groups: dict[str, list[nn.Parameter]] = {"entropy": [], "transform": [], "rotation": []}
    rotations = {id(p) for m in model.modules() if isinstance(m, Full) for p in m.parameters()}
    for name, parameter in model.named_parameters():
        is_transform = name.startswith(("g_a.", "g_s.", "gain.", "inverse_gain."))
        group = "rotation" if id(parameter) in rotations else "transform" if is_transform else "entropy"
        groups[group].append(parameter)
    return [{"name": name, "params": parameters} for name, parameters in groups.items()]


def train(
    data: Path,
    out: Path,
    recipe: Recipe,
    *,
    valid: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    console: Console | None = None,
) -> Path:
    """Train a model on the pictures below ``data``; returns the path of the checkpoint in ``out``.

    With ``resume`` the checkpoint's own recipe goes on from its last saved step. Without ``valid`` every
    fiftieth picture is held out for validation.

    Raises:
        ValueError: for a folder without pictures, or a checkpoint that is there already or is missing.
    """
    console = console or Console(stderr=True)
    checkpoint = out / "checkpoint.pt"
    saved: dict | None = None
    if resume:
        recipe, saved = load_checkpoint(checkpoint)
    elif checkpoint.exists():
        raise ValueError(f"{checkpoint}: already there; continue it with --resume or choose another folder")
    warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
    fabric = Fabric(accelerator=device, devices=1, precision="bf16-mixed")
    fabric.seed_everything(recipe.seed, verbose=False)
    pictures, skipped = load_folder(data)
    console.print(f"{len(pictures)} pictures, {skipped} files skipped")
    held_out = load_folder(valid)[0] if valid else pictures[::50]
    if not valid and len(pictures) > 1:
        pictures = [p for i, p in enumerate(pictures) if i % 50] or pictures
    model = CompressionModel(recipe.architecture, recipe.quantization)
    position = Position()
    generator = torch.Generator().manual_seed(recipe.seed)
    if saved is None:
        start_from_principal_components(model, recipe, pictures)
    model = model.to(fabric.device, memory_format=torch.channels_last)
    average = AveragedModel(model, multi_avg_fn=average_weights(recipe.ema_decay))
    optimizer = torch.optim.AdamW(
        parameter_groups(model), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    if saved is not None:
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        generator.set_state(saved["crops"])
        torch.set_rng_state(saved["noise"])
        position = Position(saved["step"], saved["seconds"])
    wrapped, optimizer = fabric.setup(model, optimizer)
    wrapped.mark_forward_method("rate_distortion")
    out.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        save_checkpoint(
            checkpoint,
            recipe,
            {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "crops": generator.get_state(),
                "noise": torch.get_rng_state(),
                "step": position.step,
                "seconds": position.seconds,
            },
        )

    def report(validation: list[Tensor]) -> None:
        for level, rate, decibels in validate(average.module, validation):
            console.print(f"valid  q {100 * level:.0f}  {rate:.3f} bpp  {decibels:.2f} dB")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.1f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar, (out / "log.csv").open("a", newline="") as log_file:
        log = csv.writer(log_file)
        task = bar.add_task("training", total=1.0, completed=position.progress(recipe))
        last_save = last_log = time.monotonic()
        last_step = position.step
        totals = torch.zeros(2)
        while (progress := position.progress(recipe)) < 1.0:
            began = time.monotonic()
            late = progress >= recipe.late_from
            set_exact(model, progress >= recipe.exact_from)
            model.train()
            batch, crop = (recipe.late_batch, recipe.late_crop) if late else (recipe.batch, recipe.crop)
            x = random_batch(pictures, batch, crop, recipe.downscale, generator).to(fabric.device)
            quality = torch.rand(batch, generator=generator).to(fabric.device)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(progress, group["name"])
            bpp, mse, extra = wrapped.rate_distortion(x, quality, progress)
            weight = recipe.distortion_weight(quality)
            loss = ((bpp + weight * 255**2 * mse) * (weight / recipe.distortion_weight(0.5)) ** -0.5).mean() + extra
            fabric.backward(loss)
            norm = fabric.clip_gradients(wrapped, optimizer, max_norm=recipe.clip_norm, error_if_nonfinite=False)
            if torch.isfinite(norm):
                optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(model)
            position.step += 1
            position.seconds += time.monotonic() - began
            totals += (
                torch.stack([bpp.mean(), -10 * torch.log10(mse.clamp(min=1e-10)).mean()]).detach().cpu() / LOG_EVERY
            )
            if position.step % LOG_EVERY == 0:
                speed = (position.step - last_step) / (time.monotonic() - last_log)
                last_step, last_log = position.step, time.monotonic()
                text = f"step {position.step}  {speed:.1f} steps/s  {totals[0]:.3f} bpp  {totals[1]:.2f} dB"
                bar.update(task, completed=progress, description=text)
                log.writerow(
                    [position.step, f"{position.seconds:.1f}", f"{totals[0]:.4f}", f"{totals[1]:.3f}", float(loss)]
                )
                log_file.flush()
                totals.zero_()
            if position.step % VALIDATE_EVERY == 0:
                report(held_out[:8])
            if time.monotonic() - last_save > SAVE_EVERY_SECONDS:
                save()
                last_save = time.monotonic()
        save()
        report(held_out)
    return checkpoint
