"""The 3DMM UV-map generator: a detailed head mesh from a StyleGAN2 stylecode."""
