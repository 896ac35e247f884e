"""Token ids from examples: tokenizers, truncation, windows, encodings and batches."""
