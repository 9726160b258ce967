"""Files in and out: atomic writes, bounded readers of what strangers made, meshes."""
