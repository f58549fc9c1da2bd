"""The networks, their training and their export. Needs the extra ``train`` (torch, compressai, lightning)."""
