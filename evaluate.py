"""`mmrope-eval run`, from a checkout."""
from mmrope_eval.cli import entry, main  # noqa: F401
if __name__ == "__main__":  # worker processes and `import evaluate` (the hub's package) must not start a run
    entry(command="run")
