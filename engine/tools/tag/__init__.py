"""`tag`: captions by a tagger. Pictures are found, decoded and looked at, and their tags written as one run of the journal."""
