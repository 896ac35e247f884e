"""Configurations of the Cerebras Model Zoo, converted to recipes."""
