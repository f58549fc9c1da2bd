"""Pictures to files; ``encoder`` runs all steps."""
