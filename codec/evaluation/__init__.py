"""Rate and distortion over a folder of pictures, other codecs to compare with, and the report."""
