"""A Keras network as a list of torch operations."""
