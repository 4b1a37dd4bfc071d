"""The mathematics of diffusion, pure: noise schedules, the objective, and the table of samplers."""
