"""The light description of table `annotation`: the numbers of StyleGAN-R, Tables 1a and A."""

from gan3d_bench.spec import Column, Reported, TableSpec

_PAPER = "StyleGAN-R (Zhang et al., 2021)"
_PASCAL3D = "Pascal3D, keypoints"
_KEYPOINTS = "StyleGAN's images, keypoints"
_VIEWS = "StyleGAN's images, 12 view bins"


def _reported(row: str, metric: str, value: float, place: str) -> Reported:
    return Reported("annotation", row, metric, value, f"{_PAPER}, {place}, cars")


SPEC = TableSpec(
    name="annotation",
    title="Data sets that inverse graphics learns from: size and time of annotation",
    columns=(
        Column("images", "Images", higher_is_better=True, digits=0),
        Column("least", "Annotation, from", unit="h", digits=2),
        Column("most", "Annotation, to", unit="h", digits=2),
    ),
    rows=(_PASCAL3D, _KEYPOINTS, _VIEWS),
    measure="",
    protocol=(
        "Hours that somebody needs to annotate cars: keypoints of each image of Pascal3D (3 to 5 "
        "minutes an object, estimated by the paper); keypoints of the viewpoints of a StyleGAN, "
        "or bins of views ('about a minute'), which hold for all images made at them. Not "
        "measured: it is people's time."
    ),
    reported=(
        _reported(_PASCAL3D, "images", 4000, "Table 1a"),
        _reported(_PASCAL3D, "least", 200, "Table 1a"),
        _reported(_PASCAL3D, "most", 350, "Table 1a"),
        _reported(_KEYPOINTS, "least", 3, "Table A (a)"),
        _reported(_KEYPOINTS, "most", 4, "Table A (a)"),
        _reported(_VIEWS, "images", 50000, "Table 1a"),
        _reported(_VIEWS, "least", 1 / 60, "Table 1a"),
        _reported(_VIEWS, "most", 1 / 60, "Table 1a"),
    ),
)
