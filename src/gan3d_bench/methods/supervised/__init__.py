"""A depth network trained on ground truth: the upper bound of table `shape`."""
