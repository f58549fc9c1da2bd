"""The command line: thin; each command calls one function of ``codec`` or ``models``."""
