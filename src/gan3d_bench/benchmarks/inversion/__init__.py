"""Table `inversion`: how well an inverted image is reproduced, and how fast."""
