"""What is trained by: the tables of optimizers and of learning-rate schedules. Imports no torch."""
