"""The steps of the pipeline over files: run folders, shards, and the command line."""
