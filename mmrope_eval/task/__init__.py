"""What is asked: task files, their rows, prompts and samples, and whether the data are here."""
