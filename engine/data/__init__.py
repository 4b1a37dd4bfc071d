"""Pictures and captions: found, described, placed in buckets, cached and put into batches. Nothing here knows a model or the settings."""
