"""Conversion of other programs' configurations to recipes."""
