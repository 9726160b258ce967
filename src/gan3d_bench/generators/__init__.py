"""Teachers: pre-trained generators behind one contract.

A generator has ``mapping(z) -> w``, ``synthesis(w, noise=...) -> images in [-1, 1]``, ``w_mean``,
``w_std``, ``num_ws`` and ``image_size``.
"""
