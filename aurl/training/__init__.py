"""The Lightning module, schedules, checkpointing and callbacks."""
