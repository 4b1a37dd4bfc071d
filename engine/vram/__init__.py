"""The memory that a run will need on its card, worked out from its settings before anything is loaded. Imports no torch."""
