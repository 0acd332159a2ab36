"""aurl: train, steer and measure symbolic music models on your own MIDI.

Rooms, in the order in which they may import one another (a room imports only rooms above it):

utils       logging, atomic files, user-facing errors
music       reading scores, rendering to audio, pictures and pages (symusic and numpy, no torch)
data        corpora, splits, tokenizer, token shards, augmentation, packed batches
models      the one model, its attention, positions and caches; checkpoint format
generation  sampling filters, grammar, cached decoding, export
evaluation  likelihood, musical statistics, reference baselines
training    the Lightning module, schedules, checkpoints, callbacks
cli         the commands; the only room that knows Hydra
"""

__version__ = "0.1.0"
