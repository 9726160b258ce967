"""Table `depth-pose`: normalised depth and pose of a single image."""
