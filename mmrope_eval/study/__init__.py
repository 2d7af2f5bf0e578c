"""Many runs and sweeps out of one file."""
