"""The memory that a run will need, by its settings alone. Imports no torch."""
