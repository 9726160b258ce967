"""Pre-trained weights: what exists (`registry`), where it lies (`store`), how it comes (`fetch`).

Nothing here imports torch. Only :func:`gan3d_bench.assets.fetch.fetch` touches the network.
"""

from __future__ import annotations

from gan3d_bench.assets.store import asset_path, cache_dir, is_present, verify

__all__ = ["asset_path", "cache_dir", "is_present", "verify"]
