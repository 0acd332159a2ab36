"""Callbacks of the training loop: log lines, samples, averaging."""
