"""The light description of table `iou`: the numbers of StyleGAN-R, Table 1b, and our own."""

from gan3d_bench.spec import Column, Reported, TableSpec

_NUMBERS = {  # on the test images of Pascal3D, and on those of the StyleGAN data set
    "Trained on Pascal3D": (0.80, 0.81),
    "Trained on StyleGAN's images": (0.76, 0.95),
}
_METRICS = ("iou_pascal3d", "iou_stylegan")
_LEADS = {
    "lead_others_2d": "2D IoU, own less another's",
    "lead_mean_2d": "2D IoU, own less mean car's",
    "lead_others_3d": "3D IoU, own less another's",
    "lead_mean_3d": "3D IoU, own less mean car's",
}

SPEC = TableSpec(
    name="iou",
    title="Silhouettes and shapes of reconstructed cars: intersection over union",
    columns=(
        Column(_METRICS[0], "2D IoU, Pascal3D", higher_is_better=True, digits=2),
        Column(_METRICS[1], "2D IoU, StyleGAN", higher_is_better=True, digits=2),
        Column("iou", "2D IoU", higher_is_better=True, digits=3),
        Column("iou_3d", "3D IoU", higher_is_better=True, digits=3),
        Column("chamfer", "Chamfer", unit="×10⁻²", digits=2),
        *(
            Column(metric, heading, higher_is_better=True, digits=3, difference=True)
            for metric, heading in _LEADS.items()
        ),
    ),
    rows=("True car", "Mean car, true view", *_NUMBERS, "StyleGAN-R"),
    measure="gan3d_bench.benchmarks.iou.measure:IoUMeasure",
    protocol=(
        "Each method reconstructs held-out pictures of cars as meshes, at cameras that it tells by "
        "itself. 2D IoU: of the mask in the input view with the true one; it says nothing of what "
        "the input does not show. 3D IoU: of the shapes as solids of 64 voxels a side, all that "
        "the surface encloses along two of three axes, so that meshes need not be closed; "
        "Chamfer: mean distance between 8192 points on each surface and the nearest on the other, "
        "both ways. Both shapes are in the cars' frame, centred by their bounding boxes and scaled "
        "to a diagonal of one: size and the camera's distance are not told apart. Columns of "
        "differences: the score of the own shape less that of others in its place, of the first "
        "sixteen other cars of the run (mean of their scores; in 2D at the own camera) and of the "
        "mean car; positive is good, and a method with one shape for all gets zero. Mean car: the "
        "training shape whose mean chamfer distance to the others is smallest, told the true view, "
        "which no method is, and the true size. The paper's numbers are 2D IoU on the test images "
        "of Pascal3D and of its own StyleGAN data set."
    ),
    bounds=("True car",),
    reported=tuple(
        Reported("iou", row, metric, number, "StyleGAN-R (Zhang et al., 2021), Table 1b, cars")
        for row, numbers in _NUMBERS.items()
        for metric, number in zip(_METRICS, numbers, strict=True)
    ),
    assets=("cars",),
)
