"""Likelihood of any music under a checkpoint, musical statistics, reference baselines."""
