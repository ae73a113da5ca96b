"""The entries of ``run.json`` as frozen dataclasses: the run folder writes them, reports and readers take them."""
