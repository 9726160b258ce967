"""Table `intrinsics`: albedo and normals against exact ground truth."""
