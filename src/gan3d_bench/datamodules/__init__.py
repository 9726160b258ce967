"""Data sources: synthetic heads with exact ground truth, and the Synface benchmark."""
