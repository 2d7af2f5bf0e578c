"""Reads results only: tables, statistics, sweeps and checks of finished runs. Never imports the suite or the engine."""
