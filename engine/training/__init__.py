"""The composition root of a run: config in, trained file out."""
