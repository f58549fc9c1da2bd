"""The command line: options and messages; the work is done by ``codec`` and ``codec_models``."""
