"""Commands beside training: each is a small program over the rooms below, and none needs another."""
