"""Light specs of the generators. Imports no torch."""

from gan3d_bench.spec import GeneratorSpec, Pretrained

STYLEGAN2 = GeneratorSpec(
    name="stylegan2",
    title="StyleGAN2 (Karras et al. 2020), plain PyTorch",
    loader="gan3d_bench.generators.stylegan2.teacher:load",
    teachers={"heads-teacher-64": Pretrained("heads-teacher-64")},
)
MOBILESTYLEGAN = GeneratorSpec(
    name="mobilestylegan",
    title="MobileStyleGAN (Belousov 2021), from OpenVINO IR",
    loader="gan3d_bench.generators.mobilestylegan:load_teacher",
    teachers={
        "mobilestylegan-ffhq": Pretrained(
            "mobilestylegan-ffhq", {"exact": True}, directions="directions-ffhq"
        ),
        "mobilestylegan-ffhq-fast": Pretrained("mobilestylegan-ffhq", directions="directions-ffhq"),
    },
)
