"""The embedded default: tiny checkpoints and a small local mirror, built in seconds."""
