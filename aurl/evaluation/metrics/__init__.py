"""Musical metrics: plain functions over scores, a registry that says what each sees, torchmetrics classes.

- table: one score as arrays of notes, bars and seconds; made once, read by every metric.
- pitch, melody, rhythm, dynamics: what notes alone say.
- harmony, tension, progression: what sounds together, and what follows what.
- structure, scape, order: bars against bars: repetition, form, and whether the order of bars matters.
- seam: are these two pieces, joined? reference: what progression and seam learn from a corpus.
- registry: name, unit, range, source and purpose of every metric; ``score_metrics`` measures a score.
- torch_metrics: the same as ``torchmetrics.Metric`` classes.

A metric that a piece cannot have (a velocity range without notes, a bar-to-bar figure of one bar) is NaN.
"""
