"""Pictures in and out through Pillow: planes of 8 bits, metadata, and what lies under transparent pixels."""
