"""The parts of ``tools/fuzz.py``: mutations, kinds of tries, and the process that one runs in."""
