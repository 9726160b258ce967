"""W_tri: an encoder from one portrait to EG3D's tri-planes, and ReStyle, which it builds on."""
