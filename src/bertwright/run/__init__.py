"""A run from a recipe to a bundle: its data, plan, events, checkpoints, report and directory."""
