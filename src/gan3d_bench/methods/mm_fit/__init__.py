"""Fits of a morphable model to pictures of faces, by landmarks and pixels."""
