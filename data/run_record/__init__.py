"""What ``run.json`` holds, as frozen dataclasses: the run folder writes them, reports and readers take them."""
