"""The parts that pages are made of: the document, the pictures, the gallery."""
