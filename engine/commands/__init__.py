"""The commands, a file each: its options, its help, and what it runs. Heavy imports happen inside `run`."""
