"""Who does the shards of a run: this process, processes of this machine, or a Ray cluster, all by one function."""
