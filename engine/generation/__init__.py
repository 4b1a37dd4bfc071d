"""Pictures from a model: prompts, sampling, the PNG that says how it was made, and the page that compares training steps."""
