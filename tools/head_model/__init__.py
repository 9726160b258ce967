"""Parts of `tools/build_head_model.py`: topology, shape statistics, albedo."""
