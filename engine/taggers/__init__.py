"""Taggers: what each model takes and gives, a picture made ready for it, and its scores turned into tags."""
