"""What others see of measured tables: one self-contained HTML page, and W&B."""
