"""What a run leaves behind: scalars, pictures, turntables and meshes, in its folder and in W&B."""
