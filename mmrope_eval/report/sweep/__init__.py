"""Sweeps as curves, figures and files."""
