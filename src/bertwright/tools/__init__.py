"""Comparison, conversion and description of models."""
