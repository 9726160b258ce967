"""``gan3d-bench check NAME``: the definition of done for a method, ours or a plug-in's."""
