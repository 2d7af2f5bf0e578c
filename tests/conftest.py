"""Settings that hold for every test: no network, reproducible hypothesis runs."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Read when Ray is first imported, which vLLM does too: what we set before our own import may come too late here.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")

settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")
