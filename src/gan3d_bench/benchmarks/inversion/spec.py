"""The light description of table `inversion`: the numbers of W_tri, Tables 1 and 2."""

from gan3d_bench.spec import Column, Reported, TableSpec


def _reported(row: str, metric: str, value: float, place: str) -> Reported:
    return Reported("inversion", row, metric, value, f"W_tri (Oh et al.), {place}, CelebA-HQ")


# Table 2 repeats ReStyle ("baseline") and W_tri ("+ L_cyc") with one digit more than Table 1.
_RESTYLE, _WITHOUT, _FULL = "ReStyle on EG3D", "W_tri without L_cyc", "W_tri"
_PTI = "PTI on EG3D"
_PROJECTION, _MEAN = "Projection on EG3D", "Mean head, true view"
_LINEAR = "Linear regression on EG3D"

SPEC = TableSpec(
    name="inversion",
    title="Inversion of a portrait: reproduction and time",
    columns=(
        Column("lpips", "LPIPS", digits=3, network="LPIPS (alex)"),
        Column(
            "id",
            "ID",
            higher_is_better=True,
            digits=3,
            network="ArcFace arcface-mbf, SCRFD scrfd-500m at 128, 5 points",
        ),
        Column("seconds", "Time", unit="s per image", digits=2),
    ),
    rows=(_MEAN, _LINEAR, _RESTYLE, _WITHOUT, _FULL, _PROJECTION, _PTI),
    measure="gan3d_bench.benchmarks.inversion.measure:InversionMeasure",
    protocol=(
        "Reconstructions of held-out heads in the input view, whose camera the method tells by "
        "itself: LPIPS (alex) of the pictures, cosine of ArcFace embeddings (where SCRFD finds a "
        "face in both), seconds for one image alone, from picture to picture, on the machine that "
        "the results name (the paper does not name its own). ReStyle and W_tri take five passes "
        "of the encoder, projection 500 steps in W+, PTI 350 of tuning after them. Mean head: an "
        "average person in the true view, light and background, who is had for nothing. Linear "
        "regression: from 16 x 16 pixels to a stylecode, on pictures that EG3D made itself. The "
        "papers' numbers are of CelebA-HQ, and their identity of another network."
    ),
    versions=("first", "pictures whole, not grey where a volume is not opaque"),
    assets=("heads", "alexnet-lpips", "arcface-mbf", "scrfd-500m"),
    reported=(
        _reported(_RESTYLE, "lpips", 0.254, "Table 2, baseline"),
        _reported(_RESTYLE, "id", 0.353, "Table 2, baseline"),
        _reported(_RESTYLE, "seconds", 0.54, "Table 1"),
        _reported(_WITHOUT, "lpips", 0.227, "Table 2, + W_tri"),
        _reported(_WITHOUT, "id", 0.352, "Table 2, + W_tri"),
        _reported(_FULL, "lpips", 0.223, "Table 2, + L_cyc"),
        _reported(_FULL, "id", 0.362, "Table 2, + L_cyc"),
        _reported(_FULL, "seconds", 0.54, "Table 1"),
        _reported(_PTI, "lpips", 0.10, "Table 1"),
        _reported(_PTI, "id", 0.57, "Table 1"),
        _reported(_PTI, "seconds", 457.0, "Table 1"),
    ),
)
