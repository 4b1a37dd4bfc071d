"""`caption`: a sentence for each picture, by a captioner of this machine or by a server that the user names."""
