"""Table `novel-view`: reconstructions from other views against exact ground truth."""
