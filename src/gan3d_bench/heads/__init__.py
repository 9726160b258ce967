"""Synthetic heads: from standard normals to rendered heads, and their disk cache."""
