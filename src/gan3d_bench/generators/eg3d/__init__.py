"""EG3D (Chan et al. 2022, arXiv:2112.07945): tri-planes of StyleGAN2, rendered as a volume."""
