"""Whether two runs differ: statistics, verdicts, gates."""
