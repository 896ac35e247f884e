"""Hyperparameter search: search spaces, trials in subprocesses, the leaderboard and the best model."""
