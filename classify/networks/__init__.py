"""Networks by name: our own, and published ones through keras.applications."""
