"""The light description of table `inversion`: the numbers of W_tri, Tables 1 and 2."""

from gan3d_bench.spec import Column, Reported, TableSpec


def _reported(row: str, metric: str, value: float, place: str) -> Reported:
    return Reported("inversion", row, metric, value, f"W_tri (Oh et al.), {place}, CelebA-HQ")


# Table 2 repeats ReStyle ("baseline") and W_tri ("+ L_cyc") with one digit more than Table 1.
_RESTYLE, _WITHOUT, _FULL = "ReStyle on EG3D", "W_tri without L_cyc", "W_tri"
_PTI = "PTI on EG3D"

SPEC = TableSpec(
    name="inversion",
    title="Inversion of a portrait: reproduction and time",
    columns=(
        Column("lpips", "LPIPS", digits=3, network="LPIPS (alex)"),
        Column("id", "ID", higher_is_better=True, digits=3, network="CurricularFace IR-101"),
        Column("seconds", "Time", unit="s per image", digits=2),
    ),
    rows=(_RESTYLE, _WITHOUT, _FULL, _PTI),
    measure="",
    protocol=(
        "Reconstructions in the input view: LPIPS, cosine of the face embeddings, seconds for one "
        "image (the paper does not name its machine). ReStyle and W_tri take five passes of the "
        "encoder, PTI 500 steps of projection and 350 of tuning. Not measured: no method of the "
        "suite inverts EG3D yet."
    ),
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
