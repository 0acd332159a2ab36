ATTRIBUTES = ("density", "polyphony", "mean_pitch", "range", "velocity", "syncopation", "tension", "contour")
