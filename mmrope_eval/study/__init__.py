"""Many runs out of one file, asked on one engine."""
