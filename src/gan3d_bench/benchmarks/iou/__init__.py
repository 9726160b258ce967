"""Table `iou`: reconstructed silhouettes against those of the images."""
