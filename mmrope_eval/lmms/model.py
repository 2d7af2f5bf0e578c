"""A live engine as an lmms-eval model, so that lmms-eval's own evaluator can drive it on any of its tasks.

    from lmms_eval.evaluator import simple_evaluate
    simple_evaluate(model=LiveModel(engine), tasks=["mmrope_chartqa"], task_manager=TaskManager(include_path="tasks"))

Videos go in as videos, with their own clock, and a task's `max_new_tokens` and `until` mean what they say. For results
that are kept, resumed and scored strictly use `mmrope-eval run`; around this model lmms-eval does what it always does.
Importing this module imports lmms-eval (seconds); nothing else in the project imports it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrope_eval.engine.backend import Engine
from mmrope_eval.lmms.loader import quiet_lmms_eval, read_generation
from mmrope_eval.messages import Failure, ImageSource, Part, Request, VideoSource

quiet_lmms_eval()

from lmms_eval.api.model import lmms  # noqa: E402 - after its side effects are taken care of

DEFAULT_MAX_TOKENS = 1024
"""For task files that name no limit, lmms-eval's own default."""


class LiveModel(lmms):  # type: ignore[misc]
    """lmms-eval's model interface over an engine that is already running; generation only."""

    is_simple = True

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.failures: dict[str, str] = {}
        """Cause by `task/doc id` of every request without an answer; lmms-eval itself sees an empty answer."""

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """One answer per request, in order; an empty one where the request failed."""
        texts = [""] * len(requests)
        for result in self.engine.stream(self._feed(requests)):
            if isinstance(result, Failure):
                self.failures[_name(requests[int(result.id)])] = result.cause
            else:
                texts[int(result.id)] = result.text
        return texts

    def _feed(self, requests: Sequence[Any]) -> Iterator[Request]:
        for index, request in enumerate(requests):
            context, kwargs, doc_to_visual, doc_id, task, split = request.args
            try:
                visuals = doc_to_visual(self.task_dict[task][split][doc_id]) or []
                content = (*sources(visuals), context)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - stock tasks exit for a missing video
                self.failures[_name(request)] = f"{type(error).__name__}: {error}"
                continue
            generation = read_generation({"max_new_tokens": DEFAULT_MAX_TOKENS, **kwargs})
            yield Request(str(index), content, generation)

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Not offered: no column of this project scores choices by likelihood."""
        raise NotImplementedError("this model generates; it does not score given continuations")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not offered: no column of this project has several rounds."""
        raise NotImplementedError("this model answers one turn at a time")


def sources(visuals: Iterable[Any]) -> Iterator[Part]:
    """lmms-eval's visuals as sources: pictures as lossless PNG, names of files as videos, with their span if given."""
    from PIL import Image

    for visual in visuals:
        if isinstance(visual, Image.Image):
            out = io.BytesIO()
            visual.save(out, "PNG")
            yield ImageSource(out.getvalue())
        elif isinstance(visual, (str, Path)):
            yield VideoSource(Path(visual))
        elif isinstance(visual, Mapping):
            path = visual.get("path") or visual.get("url") or visual.get("video")
            yield VideoSource(Path(str(path)), visual.get("video_start"), visual.get("video_end"))
        elif isinstance(visual, (list, tuple)):
            yield from sources(visual)
        else:
            raise TypeError(f"a visual of type {type(visual).__name__} is neither picture nor video")


def _name(request: Any) -> str:
    return f"{request.args[4]}/{request.args[3]}"
