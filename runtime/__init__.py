"""The services of the machine: files, caches, downloads, devices, processes. This package knows nothing of faces."""
