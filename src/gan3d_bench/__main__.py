"""``python -m gan3d_bench``."""

from gan3d_bench.cli import main

if __name__ == "__main__":
    main()
