"""The light description of the identity network."""

from gan3d_bench.spec import Importer, MethodSpec

SPEC = MethodSpec(
    name="idnet",
    title="Identity network: picture -> embedding that tells who it is (CosFace or ArcFace)",
    paper="identity network of Shi et al., LiftedGAN, CVPR 2021; losses of Wang et al., CosFace, "
    "CVPR 2018, and Deng et al., ArcFace, CVPR 2019",
    module="gan3d_bench.methods.idnet.method:IdentityNetwork",
    config="gan3d_bench.methods.idnet.config:IdentityConfig",
    presets={
        "heads-64": "identities of the head model at 64 pixels; minutes on one CPU core",
        "paper": "CASIA-WebFace or another folder of people, 128 pixels; needs images=FOLDER",
        "check": "a few steps of a tiny network, for `gan3d-bench check`",
    },
    default_preset="heads-64",
    status="layers equal the released network's; its training is not released and is our own",
    importer=Importer(
        "gan3d_bench.faces.identity_files:import_file",
        files=".pth.tar of the identity network of seasonSH/LiftedGAN",
        method="liftedgan",
        setting="identity={folder}",
    ),
)
