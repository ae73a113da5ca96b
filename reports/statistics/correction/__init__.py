"""Shares corrected for the classifier's errors, how sure they are, and whether what they rest on can be true."""
