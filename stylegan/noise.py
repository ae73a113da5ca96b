"""The modes of a StyleGAN2's noise by name, light enough for the command line."""

NOISE_MODES = ("const", "random", "none")
"""``const``: the network's own noise maps. ``random``: drawn for each picture. ``none``: no noise."""
