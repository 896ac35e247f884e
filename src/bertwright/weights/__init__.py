"""Checkpoints of every origin, read by name, strictly."""
