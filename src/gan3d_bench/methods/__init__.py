"""One folder a paper; `base` and `phases` are what they share."""
