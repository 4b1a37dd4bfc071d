"""`caption`: a sentence for each picture, by a captioner here or by a server."""
