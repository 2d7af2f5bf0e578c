"""What every room may use: words, the terminal, places on disk; nothing of multimodal models."""
