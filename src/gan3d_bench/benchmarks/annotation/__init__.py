"""Table `annotation`: how large data sets are, and how long their annotation takes."""
