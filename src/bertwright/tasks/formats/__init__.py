"""How predictions are shown to people and written to files, by kind of prediction."""
