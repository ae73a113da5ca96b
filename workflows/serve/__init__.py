"""A server that speaks the REST API of TensorFlow Serving, with an extra path that takes a picture of several faces."""
