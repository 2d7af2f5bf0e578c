"""lmms-eval's task machinery, imported without its side effects on the process, and a task made by it.

Its `generation_kwargs` are read here too.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrope_eval.messages import Generation

PIPELINES = "transformers.pipelines"


def make_task(config: Mapping[str, Any]) -> Any:
    """lmms-eval's task of a configuration, as its TaskManager makes one of a file, but without reading every YAML file
    in the file's folder. Raises whatever lmms-eval, the task's functions and its data raise."""
    from lmms_eval.api.task import ConfigurableTask

    return config.get("class", ConfigurableTask)(config={k: v for k, v in config.items() if k != "class"})


def quiet_lmms_eval() -> None:
    """Import lmms-eval's task machinery without its side effects on the process: log lines, and a Pillow switch.

    `lmms_eval.api.task` makes Pillow fill the missing part of truncated images with grey; the switch is put back.
    """
    from loguru import logger
    from PIL import ImageFile

    import_hub_evaluate()
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    logger.disable("lmms_eval")
    import lmms_eval.tasks  # noqa: F401

    ImageFile.LOAD_TRUNCATED_IMAGES = before
    logging.getLogger("datasets").setLevel(logging.ERROR)
    import datasets

    datasets.disable_progress_bars()


def import_hub_evaluate() -> None:
    """Import the hub's `evaluate` package, which lmms-eval needs, past our own evaluate.py and without pipelines.

    Where Python's search path starts with the checkout (a script run from it), `import evaluate` would find the script.
    Its `evaluator`, of which nothing here makes use, imports transformers' pipelines where it finds them (200 MB and
    seconds: scikit-learn, torchvision, sympy) and does without where it does not. No more is hidden than that: other
    threads may import transformers meanwhile.
    """
    checkout = Path(__file__).resolve().parents[2]
    path, hidden = sys.path[:], PIPELINES not in sys.modules
    sys.path[:] = [entry for entry in path if Path(entry).resolve() != checkout]
    if hidden:
        sys.modules[PIPELINES] = None  # type: ignore[assignment]  # Python's own sign for what is not to be found
    try:
        import evaluate  # noqa: F401
    finally:
        sys.path[:] = path
        if hidden:
            sys.modules.pop(PIPELINES, None)


def read_generation(kwargs: Mapping[str, Any]) -> Generation:
    """lmms-eval's `generation_kwargs` as ours. What the task declares is what the engine gets."""
    temperature = float(kwargs.get("temperature") or 0.0) if kwargs.get("do_sample", True) else 0.0
    until = kwargs.get("until") or ()
    return Generation(max_tokens=int(kwargs["max_new_tokens"]), temperature=temperature,
                      stop=(until,) if isinstance(until, str) else tuple(until))
