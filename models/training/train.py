"""Training: a folder of pictures to a checkpoint, which is saved regularly and can be resumed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from codec_models.training.checkpoint import load_checkpoint
from codec_models.training.data import load_folder
from codec_models.training.device import check_device
from codec_models.training.log import Log, progress_bar
from codec_models.training.optimizer import flush_denormals
from codec_models.training.recipe import Recipe
from codec_models.training.trainer import Trainer
from codec_models.training.validate import validate

SAVE_EVERY_SECONDS = 120
"""Seconds between two checkpoints."""
VALIDATE_EVERY = 2000
"""Steps between two validations."""
EARLY_VALIDATION_PICTURES = 8
"""Pictures of each validation. The last validation uses all held-out pictures."""
HELD_OUT_EVERY = 50
"""Without a validation folder, one picture in this many is held out for validation."""


def train(
    data: Path,
    out: Path,
    recipe: Recipe,
    *,
    valid: Path | None = None,
    resume: bool = False,
    start_from: Path | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> Path:
    """Train a model on the pictures below the folder ``data``. Returns the path of the checkpoint in ``out``.

    Args:
        recipe: of the training; a training that is resumed keeps its own.
        valid: a folder of pictures to validate on. Without it, every fiftieth picture of ``data`` is held out.
        resume: continue the training whose checkpoint is in ``out``.
        start_from: a checkpoint or model file. Training starts from its weights instead of principal components.
        device: one of ``device.DEVICES``.
        console: for messages and the progress bar; by default, standard error.

    Raises:
        ValueError: for a folder without pictures, a checkpoint that exists already, is missing or damaged, a model of
            another architecture, or a device that the machine does not have.
        ModelError: when ``start_from`` is not a model file.
        MemoryError: when there is not enough memory.
    """
    check_device(device)
    console = console or Console(stderr=True)
    checkpoint = out / "checkpoint.pt"
    saved: dict | None = None
    if resume:
        recipe, saved = load_checkpoint(checkpoint)
        start_from = None
    elif checkpoint.exists():
        raise ValueError(f"{checkpoint}: already there; continue it with --resume or choose another folder")
    pictures, held_out = read_pictures(data, valid, console)
    with memory_errors(), flush_denormals(), progress_bar(console) as bar:
        trainer = Trainer(recipe, pictures, device, saved, start_from)
        out.mkdir(parents=True, exist_ok=True)
        log = Log(out / "log.csv", bar, trainer)
        saved_at = time.monotonic()
        while trainer.fraction_done < 1.0:
            log.add(trainer.step())
            if trainer.progress.step % VALIDATE_EVERY == 0:
                with log.paused():
                    print_validation(trainer, held_out[:EARLY_VALIDATION_PICTURES], console)
            if time.monotonic() - saved_at > SAVE_EVERY_SECONDS:
                with log.paused():
                    trainer.save(checkpoint)
                saved_at = time.monotonic()
        log.close("fitting mixtures and post-filters")
        trainer.fit()
        trainer.save(checkpoint)
        print_validation(trainer, held_out, console)
    return checkpoint


def read_pictures(data: Path, valid: Path | None, console: Console) -> tuple[list[Tensor], list[Tensor]]:
    """The pictures to train on and to validate on, uint8 (3, H, W). Raises ValueError when a folder has none."""
    pictures, skipped = load_folder(data)
    console.print(f"{len(pictures)} pictures, {skipped} files skipped")
    if valid:
        return pictures, load_folder(valid)[0]
    training = [picture for i, picture in enumerate(pictures) if i % HELD_OUT_EVERY]
    return training or pictures, pictures[::HELD_OUT_EVERY]


def print_validation(trainer: Trainer, pictures: list[Tensor], console: Console) -> None:
    """Print rate and distortion of the averaged model at each validated quality."""
    for unit_quality, bpp, psnr in validate(trainer.average.module, pictures):
        console.print(f"valid  q {100 * unit_quality:.0f}  {bpp:.3f} bpp  {psnr:.2f} dB")


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Inside, torch's errors for a lack of memory become MemoryError, as Python's own are."""
    try:
        yield
    except RuntimeError as error:  # for a CPU, torch has no class of its own
        if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
            raise MemoryError("training: not enough memory; smaller batches and crops need less") from error
        raise
