"""``python -m codec_cli`` is the ``codec`` command."""

from codec_cli.app import main

main()
