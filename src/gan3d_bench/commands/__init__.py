"""What the commands do; `cli` parses and calls. Each module imports its heavy parts when run."""
