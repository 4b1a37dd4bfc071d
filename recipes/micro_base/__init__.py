"""The two small base models of the built-in demo, made from nothing but a seed: `python -m recipes.micro_base`."""
