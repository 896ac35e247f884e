"""Typed settings, read from YAML, JSON and ``key=value`` pairs with the place where each value was written."""
