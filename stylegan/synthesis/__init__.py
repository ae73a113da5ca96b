"""Whole networks drawn fast: by C++ on a CPU, by recorded graphs on a GPU."""
