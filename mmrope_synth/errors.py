"""The one error of this package that is the caller's to fix."""


class SynthError(ValueError):
    """Bad input: one sentence naming the thing, the place and the fix, for a command line to show as it is."""
