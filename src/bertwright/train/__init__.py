"""The loop and what drives it; knows nothing of any one task."""
