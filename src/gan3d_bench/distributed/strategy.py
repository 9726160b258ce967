"""Several processes without Lightning's DDP wrapper."""

from __future__ import annotations

from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry


class PlainDDPStrategy(DDPStrategy):
    """Starts and connects processes (gloo on CPU, NCCL on GPU), leaves the module as it is.

    `PhasedMethod.descend` averages gradients itself: the wrapper expects the same parameters in
    every backward pass, which phases, several optimisers and lazy regularisers break. Processes
    start from equal weights because each builds the method with the same seed.
    """

    strategy_name = "plain_ddp"

    def configure_ddp(self) -> None:
        """Do not wrap."""


StrategyRegistry.register(
    PlainDDPStrategy.strategy_name,
    PlainDDPStrategy,
    description=PlainDDPStrategy.__doc__ or "",
    override=True,
)
