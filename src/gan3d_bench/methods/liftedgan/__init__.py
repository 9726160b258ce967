"""LiftedGAN (Shi et al., CVPR 2021): a 2D generator distilled into one of textured 3D faces."""
