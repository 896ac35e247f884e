"""The encoder, its layouts and its heads; knows nothing of text."""
