"""The light description of table `relight`; ours, no paper could have it."""

from gan3d_bench.spec import Column, TableSpec

SPEC = TableSpec(
    name="relight",
    title="Relighting a single image against exact ground truth",
    columns=(
        Column("psnr", "PSNR", unit="dB", higher_is_better=True, digits=2),
        Column("lpips", "LPIPS", digits=3, network="LPIPS (alex)"),
    ),
    rows=("Input image, not relit", "GAN2Shape (3D)", "GAN2Shape (GAN)", "LiftedGAN", "UV 3DMM"),
    measure="gan3d_bench.benchmarks.relight.measure:RelightMeasure",
    protocol=(
        "Each method reconstructs held-out test images and lights them in the input view from "
        "the left, the right, above and below of the camera, with ambient weight 0.4 and "
        "diffuse weight 0.6. The true head is rendered under the same lights; pixels off it are "
        "grey in both pictures, and each channel of a method's picture is scaled to fit the "
        "truth best, since one image does not tell the light's colour from the albedo's. PSNR "
        "over the true head, LPIPS (alex) of the pictures; means over the four lights, then "
        "over heads."
    ),
    assets=(
        "heads",
        "alexnet-lpips",
    ),
)
