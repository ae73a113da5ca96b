"""The content of Keras' own files, read without Keras: configurations, arrays, and what must not be in them."""
