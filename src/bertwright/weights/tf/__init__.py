"""TensorFlow checkpoints and Keras H5 files, read and written without TensorFlow."""
