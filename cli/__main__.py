"""``python -m cli`` is the ``codec`` command."""

from cli.app import main

main()
