"""Finding good settings: which to try, trying them, and the table of how they did."""
