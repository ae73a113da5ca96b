"""How good a classifier is, how sure it should be, and what it looks at."""
