"""Sweeps: one set of questions at many context lengths and scalings."""
