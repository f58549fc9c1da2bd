"""What an installation may lack."""

from __future__ import annotations

from importlib.util import find_spec

from codec.errors import CodecError


def require_train_extra() -> None:
    """Raise CodecError when torch and its companions are not installed."""
    missing = [name for name in ("torch", "compressai", "lightning", "onnx") if find_spec(name) is None]
    if missing:
        raise CodecError(f"{', '.join(missing)} not installed: pip install 'neural-image-codec[train]'")
