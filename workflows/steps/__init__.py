"""The steps of the pipeline over a run folder."""
