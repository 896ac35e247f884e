"""Experiment trackers, which record the events of a run: TensorBoard, MLflow and Weights & Biases."""
