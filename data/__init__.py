"""Label sets, readers of face data sets, and the preparation that turns any face into a 48x48 grayscale one."""
