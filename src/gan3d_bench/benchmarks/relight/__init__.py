"""Table `relight`: reconstructions under other lights against exact ground truth."""
