"""StyleGAN2 training: the 64-pixel head teacher, and the official recipe."""
