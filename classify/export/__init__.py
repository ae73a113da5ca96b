"""Classifiers for other programs: TensorFlow Serving, ONNX Runtime, Keras."""
