"""Pre-trained weights: locating, reading, naming and strict loading."""
