"""Captions changed by commands: every change is a transaction, kept in a journal beside the pictures."""
