"""The light description of table `novel-view-cars`; ours, no paper could have it."""

from gan3d_bench.spec import Column, TableSpec

SPEC = TableSpec(
    name="novel-view-cars",
    title="Cars from all round, of a single image, against exact ground truth",
    columns=(
        Column("psnr", "PSNR", unit="dB", higher_is_better=True, digits=2),
        Column("lpips", "LPIPS", digits=3, network="LPIPS (alex)"),
        Column("iou", "Mask IoU", higher_is_better=True, digits=3),
        Column("lead_others", "PSNR, own less another's", "dB", True, digits=2, difference=True),
        Column("lead_mean_car", "PSNR, own less mean car's", "dB", True, digits=2, difference=True),
    ),
    rows=(
        "True car",
        "Input image, not turned",
        "Mean car, true view",
        "StyleGAN-R",
        "StyleGAN-R, neural renderer",
        "Style mixing",
    ),
    measure="gan3d_bench.benchmarks.novel_view_cars.measure:NovelViewCarsMeasure",
    protocol=(
        "Each method reconstructs held-out pictures of cars, at cameras that it tells by itself, "
        "and goes round them in twelve steps of 30 degrees of azimuth at that height, the input "
        "view among them. The true car is rendered there, in the light that it has in the input, "
        "which belongs to the scene: the camera moves round it. Pixels off it are grey in both "
        "pictures, as are those where a scene renders nothing. PSNR over the true car, LPIPS "
        "(alex) of the pictures, IoU of the scene's mask with the true one (not of scenes that "
        "give whole pictures without one); means over the views, then over cars. Columns of "
        "differences: the own PSNR less that of others in the car's place at the same camera, of "
        "the first four other cars of the run (mean of their scores) and of the mean car; positive "
        "is good. Mean car: the training shape whose mean chamfer distance to the others is "
        "smallest, in the paint nearest to the mean of all, told the true view, light and size. "
        "Input image: its car as it is, whatever the camera. StyleGAN-R draws by its mesh "
        "renderer (DIB-R) and by its generator; style mixing is the teacher's picture from the "
        "nearest of its view codes."
    ),
    bounds=("True car",),
    assets=("cars", "alexnet-lpips"),
)
