"""Where the faces in a picture are: Haar and LBP cascades, YuNet, and the squares that a classifier is shown."""
