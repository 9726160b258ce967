"""The keys that every run has."""

from dataclasses import dataclass, field

from gan3d_bench.config.fields import SEEDS, check_values, key, steps_key
from gan3d_bench.config.needs import Need

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass
class TrainerConfig:
    """Where and how a run trains: settings of Lightning's Trainer."""

    accelerator: str = key(
        "auto",
        "what trains, by Lightning's name: auto, cpu, gpu, ...",
        required="auto, cpu, gpu or another of Lightning's names",
    )
    devices: int = key(1, "processes on this node; -1: all GPUs", least=1, also=(-1,), most=1024)
    num_nodes: int = key(1, "computers that train together", above=0, most=4096)
    precision: str = key(
        "auto", "number format of training; auto: what the machine is fast in", choices=PRECISIONS
    )
    checkpoint_minutes: float = key(
        2.0, "time between two checkpoints", unit="minutes", above=0, most=100000
    )
    log_every: int = steps_key(10, "time between two rows of scalars", unit="steps", above=0)
    preview_every: int = steps_key(
        0,
        "time between previews; 0: at ends of phases, -1: at the end only",
        unit="steps",
        least=-1,
    )
    deterministic: bool = key(False, "whether PyTorch may only use deterministic algorithms")
    threads: int = key(0, "CPU threads; 0: PyTorch's choice", least=0, most=1024)


@dataclass
class TrackingConfig:
    """What is logged where; the same files always lie in the run folder."""

    wandb: bool = key(False, "whether to log to Weights & Biases, too")
    project: str = key("gan3d-bench", "W&B project")
    group: str = key("", "W&B group; '': METHOD-PRESET")
    tags: list[str] = key([], "W&B tags")


@dataclass
class LimitsConfig:
    """What a run may take; more is refused before it starts."""

    memory: float = key(
        0.0, "memory of data and batches; 0: what is free", unit="GiB", least=0, most=1e6
    )
    disk: float = key(50.0, "what is rendered into the cache", unit="GiB", above=0, most=1e6)


@dataclass
class RunConfig:
    """Keys every run has. `method` and `preset` are filled in by `compose`."""

    method: str = key("", "set by --method")
    preset: str = key("", "set by --preset")
    seed: int = key(0, "seed of all random numbers", least=0, below=SEEDS)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)

    def needs(self) -> list[Need]:
        """Return what a run of this config takes at least, as far as the config tells; methods
        add theirs."""
        return []

    def part_keys(self) -> tuple[str, ...]:
        """Return the keys that say which subjects a run is fitted to, each by itself; see
        `benchmarks.parts`. None where a subject's result depends on what else a run has."""
        return ()

    def validate(self) -> None:
        """Check every value against its declaration; methods add checks between keys.

        Raises:
            UserError: a value is out of range; names key, value and range.
        """
        check_values(self)
