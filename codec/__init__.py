"""Neural image codec: pictures to .nic files and back, without torch.

``codec.encode(image, quality=50) -> bytes``, ``codec.decode(data) -> PIL.Image``, and ``codec.Codec`` for
repeated use. Errors are ``codec.CodecError`` and its subclasses.
"""

from codec.codec import Codec, decode, encode
from codec.errors import CodecError, FormatError, LimitError, ModelNotFound

__version__ = "0.1.0"
__all__ = ["Codec", "CodecError", "FormatError", "LimitError", "ModelNotFound", "decode", "encode"]
