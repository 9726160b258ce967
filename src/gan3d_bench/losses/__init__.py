"""Losses shared by two methods or more."""
