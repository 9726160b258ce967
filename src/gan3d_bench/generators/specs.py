"""Light specs of the generators. Imports no torch."""

from gan3d_bench.spec import GeneratorSpec

STYLEGAN2 = GeneratorSpec(
    name="stylegan2",
    title="StyleGAN2 (Karras et al. 2020), plain PyTorch",
    loader="gan3d_bench.generators.stylegan2.checkpoint:load_generator",
)
