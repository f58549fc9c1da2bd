"""Pictures to files; ``encoder`` is the walk through all steps."""
