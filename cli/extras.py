"""What an installation may lack."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from codec.errors import CodecError

if TYPE_CHECKING:
    from codec.encoder import Refine
    from codec.model_file import Model


def require_train_extra() -> None:
    """Raise CodecError when torch and its companions are not installed."""
    missing = [name for name in ("torch", "compressai", "lightning", "onnx") if find_spec(name) is None]
    if missing:
        raise CodecError(f"{', '.join(missing)} not installed: pip install 'neural-image-codec[train]'")


def load_refiner(model: Model, effort: int, threads: int) -> Refine:
    """What refines the latents of ``model`` with an effort above 1. Raises CodecError without the extra."""
    require_train_extra()
    import torch

    from models.refine import EFFORTS, Refiner

    if threads:
        torch.set_num_threads(threads)
    return Refiner(model, EFFORTS[effort])
