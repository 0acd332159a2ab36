"""The one model, its attention, positions and caches, and the checkpoint format (torch only)."""
