"""`python -m mmrope_eval` is the `mmrope-eval` command."""

from __future__ import annotations

from mmrope_eval.cli import entry

if __name__ == "__main__":
    entry()
