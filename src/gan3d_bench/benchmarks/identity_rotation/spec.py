"""The light description of table `identity-rotation`, with the numbers of rows no method owns."""

from gan3d_bench.spec import Column, Reported, TableSpec

_SOURCE = "GAN2Shape (Pan et al., 2021), Table 3"
_DETECTOR = "SCRFD scrfd-500m at 128, 5 points"
_NETWORK = f"ArcFace arcface-mbf, {_DETECTOR}"


HYPERPLANE = "Yaw hyperplane"

_COLUMNS = (
    Column("error_mean", "Mean angle", unit="deg", digits=2, network=_NETWORK),
    Column("error_max", "Max angle", unit="deg", digits=2, network=_NETWORK),
    Column("matched", "Mean angle at measured yaw", unit="deg", digits=2, network=_NETWORK),
    Column("turned", "Turned, of 40", unit="deg", higher_is_better=True, digits=1),
    Column("faces", "Faces", unit="%", higher_is_better=True, digits=1, network=_DETECTOR),
)
_MEASURED = (
    "Turned: by how much the yaw measured in the pictures, by the same five points, grows from "
    "the first view to the last; who turns less than asked keeps identity more easily. Mean angle "
    "at measured yaw: the same mean where the pictures have turned by the views' yaw since the "
    "front, whatever yaw had to be asked for (up to 60 degrees, linear between views). "
)


def _reported(table: str) -> tuple[Reported, ...]:
    return tuple(
        Reported(table, row, metric, value, _SOURCE, count=100)
        for row, mean, worst in (
            ("HoloGAN", 47.38, 69.24),
            ("GANSpace", 41.17, 58.93),
            ("SeFa", 41.79, 60.73),
        )
        for metric, value in (("error_mean", mean), ("error_max", worst))
    )


SPEC = TableSpec(
    name="identity-rotation",
    title="Identity kept while a face is turned by ±20 degrees",
    columns=_COLUMNS,
    rows=(
        "True heads",
        "HoloGAN",
        "GANSpace",
        "SeFa",
        "GAN2Shape (3D)",
        "GAN2Shape (GAN)",
        "LiftedGAN",
    ),
    measure="gan3d_bench.benchmarks.identity_rotation.measure:IdentityRotationMeasure",
    protocol=(
        "Test heads are shown at 20 views, yaw -20 to 20 degrees in equal steps, and from the "
        "front. Methods reconstruct the heads' images and turn them about their own canonical "
        "view, pitch and roll 0, before mid-grey. SeFa and GANSpace move the heads' stylecodes in"
        " the bundled teacher, all layers, along that one of the first ten directions that "
        "changes yaw most, to where their pictures measure the yaw asked for (by five points of "
        "the face, regressed onto the true yaw of training heads; root mean square error 2.8 "
        "degrees); they keep their background. True heads are rendered in their own light: the "
        "floor. Faces are aligned by SCRFD's five points; the angle between the ArcFace "
        "embeddings of each view and the front view, its mean and maximum over a face's views, "
        "averaged over faces. Faces: views in which a face was found, those a head does not reach"
        " counted as without; they are left out of the angles, and the found view nearest to the "
        f"front stands in for a front view without a face. {_MEASURED}The paper's networks, faces "
        "and measure of yaw are others."
    ),
    bounds=("True heads",),
    versions=("first", "true heads in their own light, which turns with them"),
    reported=_reported("identity-rotation"),
    assets=("heads", "arcface-mbf", "scrfd-500m", "heads-teacher-64"),
)

FACES = TableSpec(
    name="identity-rotation-ffhq",
    title="Identity kept while a real face is turned by ±20 degrees",
    columns=_COLUMNS,
    rows=(
        "HoloGAN",
        "GANSpace",
        "SeFa",
        HYPERPLANE,
        "GAN2Shape (3D)",
        "GAN2Shape (GAN)",
        "LiftedGAN",
    ),
    measure="gan3d_bench.benchmarks.identity_rotation.faces:FaceRotationMeasure",
    protocol=(
        "Faces are samples 0, 1, ... of the test split of MobileStyleGAN-FFHQ, truncation 0.7, at"
        " 160 pixels, of which methods take the middle 128. Each is shown at 20 views, yaw -20 to"
        " 20 degrees in equal steps, and from the front. Methods reconstruct the picture and turn"
        " it about their own canonical view, pitch and roll 0; what they do not render is "
        "mid-grey. SeFa, GANSpace (that one of the first ten directions that changes yaw most) "
        "and the yaw hyperplane (a linear SVM on the yaw of samples, the only one with "
        "supervision) move the sample's stylecode, all layers, to where its pictures measure the "
        "yaw asked for, by five points of the face regressed onto the true yaw of rendered heads;"
        " they keep their background. Faces are aligned by SCRFD's five points; the angle between"
        " the ArcFace embeddings of each view and the front view, its mean and maximum over a "
        "face's views, averaged over faces. Faces: views in which a face was found, those not "
        f"reached counted as without; they are left out of the angles. {_MEASURED}The paper's "
        "faces are CelebA's, its network and measure of yaw are others."
    ),
    reported=_reported("identity-rotation-ffhq"),
    assets=("mobilestylegan-ffhq", "directions-ffhq", "arcface-mbf", "scrfd-500m", "heads"),
)
