"""Teachers: pre-trained generators behind one contract, `base.Generator`."""
