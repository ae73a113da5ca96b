"""Where the faces in a picture are, and the square that a classifier is shown."""
