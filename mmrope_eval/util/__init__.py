"""What every room may use: keys of files and commands, the terminal, files and places on disk; nothing of models."""
