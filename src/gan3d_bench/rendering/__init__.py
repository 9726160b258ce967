"""Rasterizers, cameras, depth-map meshes, shading and textured meshes."""

from gan3d_bench.rendering.fragments import Fragments
from gan3d_bench.rendering.rasterizer import rasterize

__all__ = ["Fragments", "rasterize"]
