"""Light specs of the generators. Imports no torch."""

from gan3d_bench.spec import Exporter, GeneratorSpec, Importer, Pretrained

STYLEGAN2 = GeneratorSpec(
    name="stylegan2",
    title="StyleGAN2 (Karras et al. 2020), plain PyTorch",
    loader="gan3d_bench.generators.stylegan2.teacher:load",
    teachers={
        "heads-teacher-64": Pretrained("heads-teacher-64"),
        "cars-teacher-64": Pretrained("cars-teacher-64"),
    },
    importer=Importer(
        "gan3d_bench.generators.stylegan2.transfer:import_file",
        files=".pt of rosinality/stylegan2-pytorch, .pkl of NVlabs/stylegan2-ada-pytorch",
        method="gan2shape",
        setting="teacher={folder}",
    ),
    exporter=Exporter(
        "gan3d_bench.generators.stylegan2.transfer:export_folder",
        files=".pt of rosinality/stylegan2-pytorch",
        needs="generator.safetensors",
    ),
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
EG3D = GeneratorSpec(
    name="eg3d",
    title="EG3D (Chan et al. 2022): tri-planes, volume rendering, cameras of 25 numbers",
    loader="gan3d_bench.generators.eg3d.teacher:load",
    teachers={"eg3d-heads-64": Pretrained("eg3d-heads-64")},
    importer=Importer(
        "gan3d_bench.generators.eg3d.transfer:import_file", files=".pkl of NVlabs/eg3d"
    ),
    exporter=Exporter(
        "gan3d_bench.generators.eg3d.transfer:export_folder",
        files="weights and arguments for the classes of NVlabs/eg3d",
        needs="generator.safetensors",
    ),
)
