"""What can go wrong, as classes that a caller can tell apart."""

from __future__ import annotations


class CodecError(Exception):
    """Any failure of this library on its input; the message is one line for the user."""


class FormatError(CodecError):
    """The bytes are not a valid .nic or .nicm file."""


class ModelNotFound(CodecError):
    """The model that a file was written with, or that was asked for, is not installed."""


class LimitError(CodecError):
    """The input is valid, but larger than the limits of this reader or writer."""
