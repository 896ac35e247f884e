"""Pre-training corpora: documents, token stores, sentence pairs, masks and tokenizer training."""
