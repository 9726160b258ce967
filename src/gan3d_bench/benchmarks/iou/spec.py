"""The light description of table `iou`: the numbers of StyleGAN-R, Table 1b."""

from gan3d_bench.spec import Column, Reported, TableSpec

_NUMBERS = {  # on the test images of Pascal3D, and on those of the StyleGAN data set
    "Trained on Pascal3D": (0.80, 0.81),
    "Trained on StyleGAN's images": (0.76, 0.95),
}
_METRICS = ("iou_pascal3d", "iou_stylegan")

SPEC = TableSpec(
    name="iou",
    title="Silhouettes of reconstructed cars: 2D intersection over union",
    columns=(
        Column(_METRICS[0], "IoU, Pascal3D", higher_is_better=True, digits=2),
        Column(_METRICS[1], "IoU, StyleGAN", higher_is_better=True, digits=2),
    ),
    rows=tuple(_NUMBERS),
    measure="",
    protocol=(
        "The mask of the reconstruction in the input view against the image's mask, on the test "
        "images of both data sets. Not measured: no method of the suite reconstructs cars as "
        "meshes yet."
    ),
    reported=tuple(
        Reported("iou", row, metric, number, "StyleGAN-R (Zhang et al., 2021), Table 1b, cars")
        for row, numbers in _NUMBERS.items()
        for metric, number in zip(_METRICS, numbers, strict=True)
    ),
)
