"""Kinds of prediction, each a frozen value."""
