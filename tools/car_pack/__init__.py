"""Parts of `tools/build_cars.py`: from models of cars in Debian packages to the bundled pack."""
