"""Detectors of the faces in a picture: Haar and LBP cascades, YuNet, and the squares that a classifier is shown."""
