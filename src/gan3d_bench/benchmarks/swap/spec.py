"""The light description of table `swap`; ours: the paper shows swaps, and measures none."""

from gan3d_bench.spec import Column, TableSpec


def _columns(what: str) -> tuple[Column, ...]:
    name = what.capitalize()
    return (
        Column(f"psnr_{what}", f"{name}: PSNR", unit="dB", higher_is_better=True, digits=2),
        Column(f"lpips_{what}", f"{name}: LPIPS", digits=3),
        Column(f"iou_{what}", f"{name}: mask IoU", higher_is_better=True, digits=3),
    )


SPEC = TableSpec(
    name="swap",
    title="Shape, texture and background of another car, all else held",
    columns=(*_columns("shape"), *_columns("texture"), *_columns("background")),
    rows=(
        "Input image, not swapped",
        "The other's image",
        "StyleGAN-R",
        "StyleGAN-R, neural renderer",
        "Style mixing",
    ),
    measure="gan3d_bench.benchmarks.swap.measure:SwapMeasure",
    protocol=(
        "From two held-out pictures of painted cars, of different shape and paint, each method "
        "draws the first car with the second one's shape, with its texture, and before its "
        "background, everything else its own (StyleGAN-R, Figures 10 and 11). The truth is "
        "rendered: shape with its stretch, or paint, or background of the other; camera, size and "
        "light of the first. PSNR and LPIPS (alex) of whole pictures. Mask IoU: where the method's "
        "own reconstruction finds the car in the picture it drew, against the true swapped car; of "
        "the rows of images, their true masks. Cars in the colours that they were made with take "
        "no part, since these belong to their shape. Input image: what doing nothing scores; the "
        "other's image: what giving everything of the other scores. StyleGAN-R draws by its mesh "
        "renderer (DIB-R) and by its generator; style mixing by the teacher's layers alone."
    ),
    assets=("cars", "alexnet-lpips"),
)
