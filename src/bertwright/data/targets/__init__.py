"""Kinds of targets: for each, how its rows are read, checked, scored by a baseline and split."""
