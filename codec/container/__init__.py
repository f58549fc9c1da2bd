"""Bytes to checked values and back: .nic files, tiles, post-filters, .nicm model files. No networks, no pixels."""
