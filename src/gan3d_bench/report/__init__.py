"""One self-contained HTML page of measured tables: curves, pictures, meshes, provenance."""
