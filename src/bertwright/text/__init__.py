"""Rows, tokenizers and sequences of ids; knows nothing of parameters."""
