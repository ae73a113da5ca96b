"""Faces in pictures, films and the browser."""
