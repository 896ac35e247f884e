"""Pre-trained weights: finding, reading, naming and loading them strictly."""
