"""Table `novel-view-cars`: reconstructed cars seen from all round against exact ground truth."""
