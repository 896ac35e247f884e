"""Attributions: how much each token of a text contributes to a prediction."""
