"""Views, morphable models and mesh geometry."""
