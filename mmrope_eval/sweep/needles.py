"""The needles that a sweep asks for, drawn by the miniature world."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrope_eval.errors import UserError
from mmrope_synth.errors import SynthError
from mmrope_synth.needle import Haystack, Needle, build_needles, needle_row_text


@contextlib.contextmanager
def said_to_the_user() -> Iterator[None]:
    """Makes a UserError of what the miniature world refuses."""
    try:
        yield
    except SynthError as error:
        raise UserError(str(error)) from error


class GeneratedNeedles:
    """Needles of the small world: where a sweep's come from."""

    def rows(self, needle: Needle) -> Sequence[Mapping[str, Any]]:
        """The questions, as rows of the needle task; they are the same at every length."""
        with said_to_the_user():
            return [needle_row_text(needle, serial) for serial in range(needle.questions)]

    def build(self, data_root: Path, dataset: str, needle: Needle, shape: tuple[int, int], fps: float) -> None:
        """Write a data set whose videos have shape[0] frames of shape[1] x shape[1] pixels; a second time do nothing.
        UserError for videos that cannot hold the cards."""
        with said_to_the_user():
            build_needles(data_root, Haystack(shape[0], shape[1], fps, **dataclasses.asdict(needle)), dataset)
