"""How fast and how large: measured with full-size random models, printed as JSON with commit and machine."""
