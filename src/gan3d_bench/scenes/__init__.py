"""Scenes: what every method hands to every table, by kind of representation."""
