"""gan3d-bench: papers that lift pre-trained GANs to 3D, on one benchmark."""

__version__ = "0.1.0"
