"""Configurations of other programs, read as recipes of this one: every key is accounted for."""
