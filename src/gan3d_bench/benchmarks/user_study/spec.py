"""The light description of table `user-study`: the numbers of StyleGAN-R, Tables 1c and B."""

from gan3d_bench.spec import Column, Reported, TableSpec

_METRICS = ("overall", "shape", "texture")
_PREFERRED, _AGREEMENT = "Table 1c and Table B (a)", "Table B (b)"
_NUMBERS = {
    "Trained on StyleGAN's images": (57.5, 61.6, 56.3, _PREFERRED),
    "Trained on Pascal3D": (25.9, 26.4, 32.8, _PREFERRED),
    "No preference": (16.6, 11.9, 10.8, _PREFERRED),
    "Three annotators agree": (26.1, 29.6, 27.1, _AGREEMENT),
    "Two of three agree": (61.1, 58.6, 62.1, _AGREEMENT),
    "No two agree": (12.8, 11.8, 10.8, _AGREEMENT),
}

SPEC = TableSpec(
    name="user-study",
    title="Which reconstruction of a car people prefer",
    columns=tuple(
        Column(metric, metric.capitalize(), unit="%", higher_is_better=True, digits=1)
        for metric in _METRICS
    ),
    rows=tuple(_NUMBERS),
    measure="",
    protocol=(
        "For each of the 220 test images of Pascal3D, on which one of the two networks was "
        "trained, three annotators see six views of both reconstructions and choose the more "
        "realistic one that fits the input, or none: 660 votes, shares in percent. Below, how "
        "often the annotators of an image chose alike. Not measured: it takes annotators; "
        "`gan3d-bench study` makes the page for them and counts their votes."
    ),
    reported=tuple(
        Reported(
            "user-study", row, metric, value,
            f"StyleGAN-R (Zhang et al., 2021), {place}, cars", count=220,
        )
        for row, (*numbers, place) in _NUMBERS.items()
        for metric, value in zip(_METRICS, numbers, strict=True)
    ),
)  # fmt: skip
