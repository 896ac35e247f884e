"""What a model predicts: one frozen value per kind of prediction."""
