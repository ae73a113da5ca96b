"""GAN training: one loop for every architecture, and a trainer for each."""
