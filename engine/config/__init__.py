"""The settings of a run: what they are, where each value came from, and every problem told at once. Imports no torch."""

HANDOVER = "ENGINE_HANDOVER"  # the environment variable in which a front script hands over its own variables (handover.py)
