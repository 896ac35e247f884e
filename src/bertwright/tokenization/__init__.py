"""Tokenization: tokenizers, truncation, windows, encodings, batches and the order of an epoch."""
