"""Fine-tune any BERT-family encoder: packed, exact, reported."""
