"""Light specs of the data modules. Imports no torch."""

from gan3d_bench.spec import DataModuleSpec

HEADS = DataModuleSpec(
    name="heads",
    title="synthetic heads with exact depth, normals, albedo, mask and coefficients, any size",
    module="gan3d_bench.datamodules.heads:HeadsDataModule",
)

SYNFACE = DataModuleSpec(
    name="synface",
    title="Synface (Basel Face Model renders), the benchmark of Unsup3D and GAN2Shape",
    module="gan3d_bench.datamodules.synface:SynfaceDataModule",
    needs=("the synface folder ({train,val,test}/{image,depth}/*.png)",),
)

IMAGES = DataModuleSpec(
    name="images",
    title="your own pictures: a folder, zip file or list, as squares or FFHQ-aligned faces",
    module="gan3d_bench.datamodules.images:ImageFolderDataModule",
    needs=("pictures (PNG, JPEG, WebP, ...)",),
)
