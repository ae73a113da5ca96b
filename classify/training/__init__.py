"""Training of classifiers with Keras 3 on torch."""
