"""Face generators: StyleGAN2 and DCGAN, their checkpoints, their training, and the bundled weights."""
