"""Faults in a set of labelled faces, and the record of what was put right."""
