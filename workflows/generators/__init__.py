"""Work on generators: training, measures, pictures by their styles."""
