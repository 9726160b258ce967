"""Pictures of tensors and scenes: sizes, colours, grids, sheets."""
