"""What `data check`, `data plan` and `data prune` are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mmrope_eval.util.keys import CACHE_DIR, ROOT, TASKS_DIR, Keys, Names, NotNegative, Place, Places, argument, option

TASKS: Final = "comma-separated tasks, suites, globs and paths of task files; default: all"


class CheckOptions(Keys):
    """What `data check` is asked."""

    tasks: Names = option(TASKS, [], metavar="LIST")
    tasks_dir: Places = option(TASKS_DIR, [], metavar="DIR")
    data_root: Place | None = option(f"{ROOT}; default: HF_HOME", metavar="DIR")
    no_decode: bool = option("read pictures' heads only, and do not decode the videos' first and last frames", False)
    as_json: bool = option("print one JSON object", False, name="json")
    cache_dir: Place | None = option(CACHE_DIR, metavar="DIR")


class PlanOptions(Keys):
    """What `data plan` is asked."""

    tasks: Names = option(TASKS, [], metavar="LIST")
    tasks_dir: Places = option(TASKS_DIR, [], metavar="DIR")
    data_root: Place = option("where the mirror is or shall be (default: %(default)s)", Path("data"), metavar="DIR")
    sizes: bool = option("ask the hub how large each dataset is", False)
    as_json: bool = option("print one JSON object", False, name="json")
    cache_dir: Place | None = option(CACHE_DIR, metavar="DIR")


class PruneOptions(Keys):
    """What `data prune` is asked."""

    kinds: list[str] = argument("datasets, unpacked, frames, plans, hashes, merged, served; default: all", [],
                                metavar="KIND", nargs="*")
    older_than: NotNegative = option(
        "only what was not used for so many days (default: %(default)s, everything)", 0.0, metavar="DAYS")
    dry_run: bool = option("remove nothing, say what would go", False)
    as_json: bool = option("print one JSON object", False, name="json")
    cache_dir: Place | None = option(CACHE_DIR, metavar="DIR")
