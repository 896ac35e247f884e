"""Pre-training data: documents, their token stores, and the sequences, sentence pairs and masks drawn from them."""
