"""Scores over the steps of a training."""
