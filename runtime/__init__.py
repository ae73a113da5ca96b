"""What any package needs from the machine: files, caches, downloads, devices, processes. It knows nothing of faces."""
