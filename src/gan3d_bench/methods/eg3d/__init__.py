"""EG3D training: tri-planes of heads from exact cameras, and the published recipe."""
