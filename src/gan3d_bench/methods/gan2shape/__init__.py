"""GAN2Shape (Pan et al., ICLR 2021): 3D shape of an image from a 2D GAN."""
