"""Facial-expression classifiers: architectures, training, evaluation, and the bundled weights."""
