"""Engine against reference: the same requests, variant by variant, token by token.

As a script it writes the table of measured maxima:
`python tests/parity_harness.py [--workers] [--compiled] [--ranks 2] [--out FILE]`.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity_media import texture
from PIL import Image

from mmrope_demo.checkpoints import FAMILIES, Family, build_checkpoint
from mmrope_eval.engine.live import EngineOptions, LiveEngine
from mmrope_eval.media.image import MediaPolicy
from mmrope_eval.messages import Failure, Generation, ImageSource, Request, Response, VideoSource
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.reference import Prompt, ReferenceModel, load_reference
from mmrope_eval.rope import Variant, load_variant, variant_names

POLICY = MediaPolicy(
    image_min_pixels=2 * 28 * 28,
    image_max_pixels=24 * 32 * 32,
    video_fps=2.5,
    frame_min_pixels=2 * 28 * 28,
    frame_max_pixels=12 * 28 * 28,
)
GENERATION = Generation(max_tokens=16, ignore_eos=True, logprobs=True)
INTEGER_TOLERANCE, FRACTIONAL_TOLERANCE = 1e-4, 1e-3


BY_THE_CLOCK = ("mrope-i@seconds", "videorope@seconds", "hope@seconds", "circlerope-upstream@seconds")
"""Every layout with frames as far apart as the clock says, which of the shipped variants `qwen2.5-vl` alone has."""


def variant_of(name: str) -> Variant:
    """A shipped variant, or one with ``@`` and its `time`."""
    shipped, _, time = name.partition("@")
    return load_variant(shipped, **({"time": time} if time else {}))


def build_requests(folder: Path) -> list[Request]:
    """Text alone, one image, two, one video, and images around a video; sizes that need resizing, odd grids."""
    clip = VideoSource(write_clip(folder / "clip.mp4", seconds=3.2, size=(96, 64), seed=7))
    cut = VideoSource(write_clip(folder / "long.mp4", seconds=6.0, size=(64, 80), seed=8), start=1.0, end=5.5)
    first, second, third = picture(100, 75, 1), picture(60, 130, 2), picture(90, 90, 3)
    contents = {
        "text": ("What is the capital of a country without towns? Answer at once.",),
        "one image": (first, "Where does the wave break?"),
        "two images": ("Compare ", second, " with ", first, " in one word."),
        "one video": (clip, "When does the drift begin? Give seconds."),
        "mixed": (third, "came before ", cut, ", and after it ", second, "; what changed?"),
    }
    return [Request(kind, content, GENERATION) for kind, content in contents.items()]


def tiny_checkpoint(family: Family, folder: Path) -> Path:
    """Qwen2-VL's tensors are named as in its published files, the others' as transformers names them now."""
    return build_checkpoint(family, folder, old_names=family == "qwen2-vl")


def picture(width: int, height: int, seed: int) -> ImageSource:
    buffer = io.BytesIO()
    Image.fromarray(texture(1, height, width, seed)[0]).save(buffer, "PNG")
    return ImageSource(buffer.getvalue())


def write_clip(path: Path, *, seconds: float, size: tuple[int, int], seed: int) -> Path:
    """A video at 10 frames per second, the same bytes in every process."""
    import av

    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"threads": "1", "mbtree": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for pixels in texture(round(10 * seconds), size[1], size[0], seed):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@dataclass(frozen=True)
class Comparison:
    """How far one engine response lies from the reference. Log-probabilities are natural, differences absolute."""

    family: str
    variant: str
    kind: str
    same_prompt: bool
    same_tokens: bool
    prompt_error: float
    generated_error: float
    position_error: float
    """Of the highest position and of delta, which the engine reports."""
    fractional: bool

    @property
    def tolerance(self) -> float:
        return FRACTIONAL_TOLERANCE if self.fractional else INTEGER_TOLERANCE

    @property
    def passed(self) -> bool:
        same = self.same_prompt and self.same_tokens
        return same and max(self.prompt_error, self.generated_error) <= self.tolerance and self.position_error <= 2**-12


def compare(family: str, name: str, reference: ReferenceModel, prompt: Prompt, response: Response) -> Comparison:
    """The engine's own tokens are scored by the reference in one pass.

    By induction the reference decodes the same tokens greedily if each of the engine's is the best at its place; that
    the reference with a KV cache equals one pass is tested in test_reference.py.
    """
    coordinates, delta = reference.variant.positions(prompt.segments)
    same_prompt = response.prompt_token_ids == prompt.token_ids
    score = reference.score(prompt, response.token_ids)
    ours = np.array(score.logprobs)
    cut = len(prompt.token_ids) - 1
    theirs = np.array((*(response.prompt_logprobs or ()), *(response.logprobs or ())))
    error = np.abs(theirs - ours) if theirs.shape == ours.shape else np.full(ours.shape, np.inf)
    facts = response.positions
    return Comparison(
        family=family,
        variant=name,
        kind=response.id,
        same_prompt=same_prompt,
        same_tokens=len(response.token_ids) == 16 and score.best[cut:] == response.token_ids,
        prompt_error=float(error[:cut].max()),
        generated_error=float(error[cut:].max()),
        position_error=max(abs(facts.max_position - coordinates.max()), abs(facts.delta - delta)) if facts else np.inf,
        fractional=not bool(np.all(coordinates == np.round(coordinates))),
    )


@dataclass(frozen=True)
class FamilyRun:
    """One engine over one family: what it answered and how far that is from the reference."""

    comparisons: tuple[Comparison, ...]
    scores: dict[str, np.ndarray]
    """By variant, the engine's log-probabilities of all prompts and generated tokens, end to end."""
    seconds: float

    def least_difference(self, names: Sequence[str]) -> tuple[float, str, str]:
        """The two of these variants whose prompts' log-probabilities the engine told apart least, and by how much."""
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        return min((float(np.abs(self.scores[a] - self.scores[b]).max()), a, b) for a, b in pairs)


def run_family(checkpoint: Path, names: Sequence[str], folder: Path, **engine: Any) -> FamilyRun:
    """Start one engine (with these options besides), answer all requests under each variant in turn, compare."""
    start = time.monotonic()
    requests = build_requests(folder)
    description = read_checkpoint(checkpoint)
    family = description.family.name
    reference = load_reference(checkpoint, variant_of(names[0]))
    with one_thread():
        prompts = {request.id: reference.prepare_request(request, POLICY) for request in requests}
    options = EngineOptions(max_model_len=1024, dtype="float32", kv_cache_gib=0.25, policy=POLICY, **engine)
    comparisons, scores = [], {}
    with LiveEngine.start(description, variant_of(names[0]), options) as running:
        for name in names:
            variant = variant_of(name)
            running.switch(variant=variant)
            reference.set_variant(variant)
            answers: dict[str, Response] = {}
            for answer in running.stream(requests):
                if isinstance(answer, Failure):
                    raise AssertionError(f"{family}, {name}, {answer.id}: {answer.cause}")
                answers[answer.id] = answer
            for kind, prompt in prompts.items():
                with one_thread():
                    comparisons.append(compare(family, name, reference, prompt, answers[kind]))
            scores[name] = np.concatenate([answers[kind].prompt_logprobs for kind in prompts])
        if running._watch.workers is not None:
            running._watch.workers.kill()  # their orderly end takes seconds
    return FamilyRun(tuple(comparisons), scores, time.monotonic() - start)


@contextmanager
def one_thread() -> Iterator[None]:
    """Tiny matrices on several threads spend their time waiting for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def table(comparisons: Iterable[Comparison]) -> str:
    """Markdown: a row a variant, the largest error over all kinds of prompt for each family."""
    rows = list(comparisons)
    families = sorted({row.family for row in rows})
    head = [f"{family}: prompt | {family}: 16 generated | {family}: same tokens" for family in families]
    lines = ["| variant | " + " | ".join(head) + " |", "|---" * (1 + 3 * len(families)) + "|"]
    for name in sorted({row.variant for row in rows}):
        cells = [f"`{name}`"]
        for family in families:
            pairs = [row for row in rows if (row.variant, row.family) == (name, family)]
            cells += [f"{max(r.prompt_error for r in pairs):.1e}", f"{max(r.generated_error for r in pairs):.1e}"]
            cells.append(f"{sum(r.same_tokens for r in pairs)} of {len(pairs)}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how far the engine is from the reference.")
    parser.add_argument("--workers", action="store_true", help="run vLLM in worker processes")
    parser.add_argument("--compiled", action="store_true", help="with torch.compile, as on a GPU")
    parser.add_argument("--ranks", type=int, default=1, help="tensor-parallel ranks")
    parser.add_argument("--variants", nargs="+", default=[*variant_names(), *BY_THE_CLOCK], metavar="NAME")
    parser.add_argument("--families", nargs="+", default=FAMILIES, choices=FAMILIES, metavar="NAME")
    parser.add_argument("--out", type=Path, help="write the table there too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        engine = {"workers": arguments.workers or arguments.ranks > 1, "tensor_parallel_size": arguments.ranks,
                  "enforce_eager": not arguments.compiled}  # fmt: skip
        runs = [
            run_family(tiny_checkpoint(f, folder / f), arguments.variants, folder, **engine) for f in arguments.families
        ]
    comparisons = [c for run in runs for c in run.comparisons]
    text = table(comparisons)
    print(text)
    print(f"{sum(c.passed for c in comparisons)} of {len(comparisons)} comparisons passed")
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
