"""Logging, atomic files and user-facing errors: no music, no torch models."""
