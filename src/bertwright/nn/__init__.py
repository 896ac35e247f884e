"""Neural network modules: the encoder, packed layouts and heads. Knows nothing of text."""
