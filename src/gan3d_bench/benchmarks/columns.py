"""Columns that several tables share. Imports no torch."""

from __future__ import annotations

from gan3d_bench.spec import Column

LEFT_OUT = Column("left_out", "Left out", unit="%", digits=1)
INDIVIDUAL = Column("individual", "Individual part, r", higher_is_better=True, digits=2)


def lead_columns(score: str, unit: str = "", digits: int = 3) -> tuple[Column, ...]:
    """What tells whether shapes are their subjects': see `benchmarks.subjects`.

    Args:
        score: the error that is compared, such as "SIDE".
        unit, digits: its.
    """
    words = (
        ("lead_others", "another's less own"),
        ("lead_run_mean", "run's mean less own"),
        ("lead_mean_head", "mean head's less own"),
    )
    return tuple(
        Column(
            metric,
            f"{score}, {heading}",
            unit=unit,
            higher_is_better=True,
            digits=digits,
            difference=True,
        )
        for metric, heading in words
    )


LEADS_PROTOCOL = (
    "Knows the subject: the score of other shapes in the place of the own one, at the same view "
    "and over the pixels that both show, less the score of the own: of the first sixteen other "
    "subjects of the run (mean of their scores), of their mean shape, and of the average head at "
    "the method's view; positive is good, and a method whose shapes are one shape gets zero. "
    "Individual part: correlation over pixels of own less run's mean shape with true less average "
    "head's depth. "
)
