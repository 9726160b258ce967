"""Table `fid`: how close sampled images are to real ones."""
