"""The command line; each command calls one function of ``codec`` or ``codec_models``."""
