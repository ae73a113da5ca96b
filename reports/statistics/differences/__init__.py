"""Differences between sets of labels: how large they are, and whether they are more than chance."""
