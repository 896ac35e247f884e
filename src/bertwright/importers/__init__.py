"""Configurations of other programs, converted to recipes; every key is accounted for."""
