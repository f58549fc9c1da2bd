"""A loaded model: its graphs in ONNX Runtime, its tables, and the order in which its latents are coded."""
