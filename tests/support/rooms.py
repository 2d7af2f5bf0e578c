"""The rooms of the house and their order; tests/house holds the code and the pages to it."""

ORDER = (
    "mmrope_synth", "version", "words", "errors", "messages", "util", "rope", "record", "models", "scorer", "data",
    "media",
    "store", "engine", "reference", "lmms", "vlmevalkit", "task", "suite", "run", "sweep", "study", "report",
    "analysis", "__init__", "cli", "__main__", "mmrope_demo",
)  # fmt: skip
"""The rooms, lowest first: each may import those before it, and the package itself (its version)."""

NEVER = {
    "rope": set(ORDER) - {"rope", "util", "errors", "words"},
    "report": set(ORDER) - {"report", "models", "record", "rope", "util", "errors", "words"},
    "store": {"rope", "models", "data", "media"},
    "reference": {"engine", "store", "data"},
    "scorer": {"rope", "data", "media"},
}
"""What a room does without, though it is below."""
