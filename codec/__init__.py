"""Neural image codec: pictures to .nic files and back, without torch.

``codec.encode(image, quality=50) -> bytes``, ``codec.decode(data) -> PIL.Image``, and ``codec.Codec`` for
repeated use. Errors are ``codec.CodecError`` and its subclasses.
"""

from typing import TYPE_CHECKING, Any

from codec.errors import CodecError, FormatError, LimitError, ModelNotFound

if TYPE_CHECKING:
    from codec.codec import Codec, decode, encode

__version__ = "0.1.0"
__all__ = ["Codec", "CodecError", "FormatError", "LimitError", "ModelNotFound", "decode", "encode"]


def __getattr__(name: str) -> Any:
    """What takes numpy, whose import is half of the time that a command needs to start: when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'codec' has no attribute {name!r}")
    from codec import codec

    return getattr(codec, name)
