"""Corpora, splits, tokenizer, token shards, augmentation and packed batches."""
