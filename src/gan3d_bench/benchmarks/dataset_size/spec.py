"""The light description of table `dataset-size`: the numbers of GAN2Shape, Table 4."""

from gan3d_bench.spec import Column, Reported, TableSpec

_NUMBERS = {
    "160k": (0.756, 14.81),
    "40k": (0.765, 14.90),
    "10k": (0.784, 15.10),
    "3k": (0.794, 15.28),
    "1k": (0.945, 16.84),
}
_METRICS = ("side", "mad")

SPEC = TableSpec(
    name="dataset-size",
    title="Shape from a single image against the number of images the GAN was trained on",
    columns=(
        Column("side", "SIDE", unit="×10⁻²", digits=3),
        Column("mad", "MAD", unit="deg", digits=2),
    ),
    rows=tuple(f"GAN2Shape, {size} images" for size in _NUMBERS),
    measure="",
    protocol=(
        "Metrics as in table 'shape'. Not measured: every row takes a GAN trained on that many "
        "images, and one teacher only comes with the suite."
    ),
    reported=tuple(
        Reported(
            "dataset-size",
            f"GAN2Shape, {size} images",
            metric,
            number,
            "GAN2Shape (Pan et al., 2021), Table 4, BFM",
        )
        for size, numbers in _NUMBERS.items()
        for metric, number in zip(_METRICS, numbers, strict=True)
    ),
)
