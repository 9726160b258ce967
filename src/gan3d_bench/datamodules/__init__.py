"""Sources of data behind one contract (`base`): synthetic heads, Synface, your own pictures."""
