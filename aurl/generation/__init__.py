"""Sampling filters, grammar, the cached decode loop, and export of what was generated."""
