"""A plug-in for gan3d-bench, small enough to be read in five minutes."""
