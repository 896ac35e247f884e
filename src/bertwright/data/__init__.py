"""Rows of examples: reading, column inference, splits, checks, normalization and augmentation."""
