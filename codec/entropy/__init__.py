"""Integers to bytes and back: the range coder, its tables, and hidden signs. Decoding is integer arithmetic."""
