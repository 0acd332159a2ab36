"""How good is it: likelihood under a checkpoint, musical metrics, validation, copied passages, reference baselines.

- likelihood: exact nats per note and per beat of token pieces under any model of the interface.
- importance, importance_scoring: the importance-weighted estimate of models with latents, whose likelihood is a bound.
- likelihood_detail: where the nats lie: kinds of tokens, places in the piece, single pieces, context.
- performance, stages, peer: speed, latency, size and memory; memory by stage; a peer of equal size.
- report_page: everything as one HTML page (report_model, report_music, report_comparison: its sections; examples: which
  pieces one listens to).
- ngram: the Witten-Bell reference, on the same tokens with the same accounting.
- voices: a four-part score as arrays of chords and notes (what chorale and copying read).
- chorale: statistics of one four-part piece, and the band that held-out music spans.
- copying: longest passages shared with the training set.
- metrics: musical metrics of any score, by name, with what each sees and does not see.
- corruptions: planted damage that metrics are tried on.
- validation: playable, unbroken, in style, holding together: pass or fail of one file with reasons.
- folder: metrics and validation of many files beside a reference.
- distances, rolls, two_sample: how far one set of pieces is from another, by metric, by features and by classifiers
  (lag_maps: whole pieces as pictures of what comes back; judge_network: the judge that is trained from scratch).
- originality: copy reports of any music against a training set, and diversity of a batch.
- comparison: all of these in one result. significance: two runs compared pair by pair, with the tests of paired.
"""
