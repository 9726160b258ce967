"""StyleGAN-R (Zhang et al., ICLR 2021)."""
