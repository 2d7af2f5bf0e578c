"""What `mmrope-eval demo` does: tiny checkpoints, how they were trained, and their evaluation on small data.

Part of a checkout, not of an installed mmrope-eval.
"""
