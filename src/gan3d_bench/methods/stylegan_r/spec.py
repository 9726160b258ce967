"""What the `stylegan-r` method is. Imports no torch."""

from gan3d_bench.spec import RECONSTRUCT, SAMPLE, Capability, MethodSpec

NEURAL = "neural"
"""Kind of scene: what is seen in pictures, drawn by StyleGAN-R."""
CAPABILITIES: frozenset[Capability] = frozenset({"depth", "normal", "mesh"})
# Rows of the tables of cars are to be "StyleGAN-R" (meshes) and "StyleGAN-R, neural renderer".
SPEC = MethodSpec(
    name="stylegan-r",
    title="StyleGAN-R: StyleGAN2 as a multi-view camera, inverse graphics, a 3D neural renderer",
    paper=(
        "Zhang et al., Image GANs meet Differentiable Rendering for Inverse Graphics and "
        "Interpretable 3D Neural Rendering, ICLR 2021 (no official code)"
    ),
    module="gan3d_bench.methods.stylegan_r.method:StyleGANR",
    config="gan3d_bench.methods.stylegan_r.config:StyleGANRConfig",
    presets={
        "cars-64": "the suite's cars at 64 pixels, two CPU cores; needs teacher=FOLDER",
        "paper-car": "cars at 512 pixels, as published; on a GPU, needs teacher, views and masks",
        "paper-horse": "horses at 256 pixels, likewise",
        "paper-bird": "birds at 256 pixels, likewise",
        "check": "seconds on a CPU, an untrained teacher; for `gan3d-bench check`",
    },
    default_preset="cars-64",
    scenes={SAMPLE: CAPABILITIES, RECONSTRUCT: CAPABILITIES, NEURAL: frozenset()},
    needs=(
        "cars-64: teacher=FOLDER, made by method stylegan2, preset cars-64; the asset cars",
        "paper-*: teacher=FILE (StyleGAN2), views=FILE by `gan3d-bench annotate-views`, masks=FILE "
        "(torchvision's Mask R-CNN), vgg16-lpips",
    ),
    assets=("cars",),
    status="built from the paper's text, which has no code; see README.md",
)
