"""Callbacks of the training loop: checkpoints, log lines, samples."""
