"""Reads records only: tables, statistics, sweeps and checks of finished runs. Never imports what runs them."""
