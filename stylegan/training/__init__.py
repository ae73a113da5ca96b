"""GAN training: one loop for every architecture, and a recipe for each."""
