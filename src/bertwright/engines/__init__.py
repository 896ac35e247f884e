"""Engines that run exported models: ONNX graphs, their quantization, and models whose scores ONNX Runtime computes."""
