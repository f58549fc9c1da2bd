"""From a checkpoint to a model file: ONNX graphs, frequency tables, the gradient of the synthesis."""
