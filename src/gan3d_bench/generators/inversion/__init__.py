"""GAN inversion: images to stylecodes. Imports no torch; `invert` lies in `invert.py`."""
