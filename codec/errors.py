"""What can go wrong: one class for each cause, so that a caller can tell them apart."""

from __future__ import annotations


class CodecError(Exception):
    """Any failure of this library; the message is one line for the user."""


class FormatError(CodecError):
    """The bytes are not a .nic file, or are a damaged one."""


class ModelError(CodecError):
    """A model file is damaged, lacks what was asked of it, or its graphs do not compute what they should."""


class ModelNotFound(ModelError):
    """The model that a file was written with, or that was asked for, is not installed."""


class ArgumentError(CodecError, ValueError):
    """An argument is outside the values that it can have."""


class PictureError(CodecError):
    """A picture file cannot be read, or a picture cannot be written in the format that was asked for."""


class LimitError(CodecError):
    """The input is valid, but larger than the limits of this reader or writer, or a limit cannot be met."""


class MissingPackageError(CodecError):
    """An optional package that the work needs is not installed; the message says which extra brings it."""


class EngineError(CodecError):
    """ONNX Runtime is missing, or failed while it computed."""
