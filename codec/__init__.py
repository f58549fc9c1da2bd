"""Neural image codec: pictures to .nic files and back, without torch.

``codec.encode(image, quality=50) -> bytes``, ``codec.decode(data) -> PIL.Image``, and ``codec.Codec`` for
repeated use. Errors are ``codec.CodecError`` and its subclasses.
"""

from typing import TYPE_CHECKING, Any

from codec.errors import (
    ArgumentError,
    CodecError,
    EngineError,
    FormatError,
    LimitError,
    MissingPackageError,
    ModelError,
    ModelNotFound,
    PictureError,
)

if TYPE_CHECKING:
    from codec.api import Codec, decode, encode

__version__ = "0.1.0"
__all__ = [
    "ArgumentError",
    "Codec",
    "CodecError",
    "EngineError",
    "FormatError",
    "LimitError",
    "MissingPackageError",
    "ModelError",
    "ModelNotFound",
    "PictureError",
    "decode",
    "encode",
]


def __getattr__(name: str) -> Any:
    """Import what needs numpy when it is first asked for: that import is half of the time that a command starts in."""
    if name not in ("Codec", "decode", "encode"):
        raise AttributeError(f"module 'codec' has no attribute {name!r}")
    from codec import api

    return getattr(api, name)
