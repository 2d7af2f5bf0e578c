"""Answers as they are kept: one file of a run, whose they are, and who may write them."""
