"""What `tag` and `caption` share: which pictures, decoded ahead of the model, and how their captions are written."""
