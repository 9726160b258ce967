"""Table `shape`: depth maps against exact ground truth."""
