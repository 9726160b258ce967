"""torchmetrics.Metric subclasses: what the tables measure."""
