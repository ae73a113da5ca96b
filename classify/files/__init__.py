"""Model files of every kind, each opened through the gate that refuses what would run code."""
