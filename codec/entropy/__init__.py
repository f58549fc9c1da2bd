"""Integers to bytes and back: the range coder, its tables, and signs hidden in parities. Integers only."""
