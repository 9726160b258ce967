"""The light description of table `fid`, with the numbers of rows that no method owns."""

from gan3d_bench.spec import Column, Reported, TableSpec

NETWORK = "Inception 2015-12-05, 2048-d, 8-bit, tf1 bilinear to 299"
LIFTEDGAN = "LiftedGAN (Shi et al., 2021)"


def _reported(row: str, fid: float, place: str) -> Reported:
    return Reported("fid", row, "fid", fid, f"{LIFTEDGAN}, {place}")


SPEC = TableSpec(
    name="fid",
    title="Image quality of sampled faces: distance to real images",
    columns=(
        Column("fid", "FID", digits=2, network=NETWORK),
        Column("kid", "KID", unit="×10⁻³", digits=2, network=NETWORK),
    ),
    rows=(
        "Held-out heads",
        "Bundled StyleGAN2 teacher",
        "StyleGAN2 teacher",
        "HoloGAN",
        "DiscoFaceGAN",
        "CONFIGNet",
        "LiftedGAN without L_flip",
        "LiftedGAN without L_perturb",
        "LiftedGAN without L_idt",
        "LiftedGAN without L_regA",
        "LiftedGAN",
        "UV 3DMM",
    ),
    measure="gan3d_bench.benchmarks.fid.measure:FIDMeasure",
    protocol=(
        "Each method draws N subjects, subject i from a seed of its own that is the same for "
        "every method, and renders it once, at the view of test head i. FID and KID (times 1000) "
        "to images of the train split, with TensorFlow's Inception of 2015 on images resized as "
        "TensorFlow 1 did; on few images FID is biased upwards, as the held-out heads show, and "
        "KID is not. Heads that know no background (UV 3DMM) are pasted into the teacher's "
        "picture of the same stylecode, at its view, as their paper does: what is not pasted over "
        "is the teacher's. The bundled teacher's N samples are what methods that lift it start "
        "from. "
        "The papers' numbers are of other faces. The text we have of the UV 3DMM paper ends "
        "before its FID."
    ),
    bounds=("Held-out heads", "Bundled StyleGAN2 teacher"),
    samples=2000,
    reported=(
        _reported("HoloGAN", 100.28, "Table 5, FFHQ"),
        _reported("DiscoFaceGAN", 12.90, "Table 5, from its own paper"),
        _reported("CONFIGNet", 43.05, "Table 5, from its own paper"),
    ),
    assets=(
        "heads",
        "inception-fid",
        "heads-teacher-64",
    ),
)
