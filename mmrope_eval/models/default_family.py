"""The family that is meant where nobody names one; light, for the heads of commands."""

from __future__ import annotations

from typing import Final

DEFAULT_FAMILY_NAME: Final = "qwen2.5-vl"
"""The paper's: its wording and coordinates where no checkpoint says otherwise."""
