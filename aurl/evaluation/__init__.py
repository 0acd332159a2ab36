"""How good is it: likelihood of any music under a checkpoint, musical statistics, copied passages, reference baselines.

- likelihood: exact nats per note and per beat of token pieces under any model of the interface.
- ngram: the Witten-Bell reference, on the same tokens with the same accounting.
- voices: a four-part score as arrays of chords and notes (what chorale and copying read).
- chorale: statistics of one four-part piece, and the band that held-out music spans.
- copying: longest passages shared with the training set.
"""
