"""Checks of what an installation may lack."""

from __future__ import annotations

from importlib.util import find_spec

from codec.errors import MissingPackageError


def require_train_extra() -> None:
    """Raise MissingPackageError when torch, or anything else that training needs, is not installed."""
    missing = [name for name in ("torch", "compressai", "lightning", "onnx", "pydantic") if find_spec(name) is None]
    if missing:
        raise MissingPackageError(f"{', '.join(missing)} not installed: pip install 'neural-image-codec[train]'")
