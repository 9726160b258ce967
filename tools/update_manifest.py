"""Rewrite the hashes of the bundled assets after one was rebuilt."""

from gan3d_bench.assets.manifest import write_manifest

if __name__ == "__main__":
    print("\n".join(write_manifest()))
