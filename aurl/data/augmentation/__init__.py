"""Augmentation on the fly: what may change (config, schedule), by how much (draws, augmenter), and how: tables renames
tokens, rows and rhythm move notes in time, labels move what stands beside the tokens.
"""
