"""Training and scoring of a model: loop, optimizer, schedule and compute settings, for any task."""
