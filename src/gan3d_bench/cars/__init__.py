"""Real cars with textures: the bundled pack, and pictures of them from all round."""
