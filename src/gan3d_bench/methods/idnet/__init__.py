"""The identity network of LiftedGAN: an 18-layer residual network, CosFace or ArcFace."""
