"""What several tests share. Benchmarks that need it too put ``tests/`` on their path."""
