"""The only room that imports lmms-eval: its tasks, metrics, own scores and model interface."""
