"""What Install.cmd runs once there is a Python: packages, torch, front scripts, and the proof. Standard library and pip only."""
