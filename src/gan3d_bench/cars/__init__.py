"""Real cars with textures, seen from all round: the bundled pack, and how pictures are drawn of it."""
