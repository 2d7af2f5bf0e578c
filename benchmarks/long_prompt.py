"""One true long prompt, a video and a question about it, through the engine and through transformers.

    python benchmarks/long_prompt.py [--tokens 65536] [--variants vanilla,mrope-i] [--size 448]

Time: several minutes on two shared cores.

A generated needle video (drawn frame by frame, never held in memory before it is encoded) fills the prompt up to the
exact number of tokens. A tiny random checkpoint answers it: on a CPU, in float32, in one engine start for all variants,
and again in transformers, each in a process of its own, so that seconds and peak memory are each one's own. Answers of
random weights mean nothing; that both give the same tokens at these positions does.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.engine.prompt import PromptWriter
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.messages import Generation, Request, Response, VideoSource
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint
from mmrope_eval.rope import load_variant
from mmrope_synth.needle import Haystack, needle_sample
from mmrope_synth.writer import write_video

FPS = 2.0
ANSWER = Generation(max_tokens=8, ignore_eos=True)
ASK = "\nAnswer the question with the option letter"
FILLER = "Watch the whole video before you answer. "


@dataclass(frozen=True)
class Setup:
    """What both parts are asked; everything lies in `folder`."""

    folder: Path
    tokens: int
    size: int
    frames: int
    question: str

    def request(self) -> Request:
        """Video first, then the question."""
        return Request("long", (VideoSource(self.folder / "video.mp4"), self.question), ANSWER)

    def policy(self) -> MediaPolicy:
        """All frames at their own size."""
        pixels = self.size**2
        return MediaPolicy(
            video_fps=FPS, video_max_frames=self.frames, video_max_tokens=self.tokens, frame_min_pixels=pixels,
            frame_max_pixels=pixels,
        )  # fmt: skip


def main() -> int:
    """Make the video, run both parts, print; 0 when they agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=65_536)
    parser.add_argument("--variants", default="vanilla,mrope-i")
    parser.add_argument("--size", type=int, default=448, help="of the frames in pixels, a multiple of 28")
    parser.add_argument("--no-reference", action="store_true")
    parser.add_argument("--part", nargs=2, metavar=("PART", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        return run_part(args.part[0], Path(args.part[1]), args.variants.split(","))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        build_checkpoint("qwen2.5-vl", folder / "checkpoint", num_kv_heads=4, max_position_embeddings=args.tokens * 2)
        began = time.perf_counter()
        make_question(folder, args.tokens, args.size)
        print(f"video made in {time.perf_counter() - began:.0f} s", flush=True)
        engine = start_part("engine", folder, args.variants)
        reference = None if args.no_reference else start_part("reference", folder, args.variants)
    return show(engine, reference)


def make_question(folder: Path, tokens: int, size: int) -> None:
    """A needle video in the middle of `tokens` tokens, and a question that fills the rest to the last token."""
    checkpoint = read_checkpoint(folder / "checkpoint")
    geometry = checkpoint.geometry
    per_grid = (size // (geometry.patch_size * geometry.merge_size)) ** 2
    question = str(needle_sample(Haystack(64), 50, 0).row["question"]) + ASK
    text = text_tokens(checkpoint, question)
    grids = (tokens - text) // per_grid
    missing = tokens - text - grids * per_grid
    filler = (FILLER * (missing // len(FILLER) + 1))[:missing]  # one byte is one token in this checkpoint's language
    frames = grids * geometry.temporal_patch_size
    sample = needle_sample(Haystack(frames, size=size, fps=FPS), 50, 0)
    assert sample.clip is not None and str(sample.row["question"]) + ASK == question
    write_video(folder / "video.mp4", sample.clip)
    setup = {"tokens": tokens, "size": size, "frames": frames, "question": filler + question}
    (folder / "setup.json").write_text(json.dumps(setup))


def text_tokens(checkpoint: Checkpoint, question: str) -> int:
    """Tokens of the prompt besides the video's."""
    _, ids = PromptWriter(checkpoint).write(Request("q", (VideoSource(Path("v")), question), ANSWER))
    return len(ids) - 1


def start_part(part: str, folder: Path, variants: str) -> list[dict[str, Any]]:
    """One part in a process of its own; what it measured, or why it ended."""
    command = [sys.executable, __file__, "--part", part, str(folder), "--variants", variants]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode:
        cause = "killed, most likely for its memory" if done.returncode < 0 else done.stderr.strip()[-800:]
        print(f"{part} ended with {done.returncode}: {cause}")
    return lines


def run_part(part: str, folder: Path, variants: list[str]) -> int:
    """In the child: print one JSON line for each variant."""
    setup = Setup(folder, **json.loads((folder / "setup.json").read_text()))
    for row in (through_engine if part == "engine" else through_reference)(setup, variants):
        row["gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(row), flush=True)
    return 0


def through_engine(setup: Setup, names: list[str]) -> Any:
    """One engine, switched from variant to variant."""
    from mmrope_eval.engine.live import EngineOptions, LiveEngine

    options = EngineOptions(max_model_len=setup.tokens + ANSWER.max_tokens, max_num_seqs=1, policy=setup.policy(),
                            enable_prefix_caching=False)  # fmt: skip
    checkpoint = read_checkpoint(setup.folder / "checkpoint")
    began = time.perf_counter()
    with LiveEngine.start(checkpoint, load_variant(names[0]), options) as engine:
        start = time.perf_counter() - began
        for name in names:
            engine.switch(variant=load_variant(name))
            began = time.perf_counter()
            (response,) = engine.stream([setup.request()])
            seconds = time.perf_counter() - began
            positions = response.positions if isinstance(response, Response) else None
            yield {
                "variant": name, "start": start, "seconds": seconds, "answer": list(getattr(response, "token_ids", ())),
                "tokens": getattr(response, "prompt_tokens", None), "cause": getattr(response, "cause", None),
                "max_position": positions.max_position if positions is not None else None,
            }  # fmt: skip


def through_reference(setup: Setup, names: list[str]) -> Any:
    """The same in transformers, with PyTorch's fused attention and no mask."""
    from mmrope_eval.reference import load_reference

    began = time.perf_counter()
    reference = load_reference(setup.folder / "checkpoint", load_variant(names[0]))
    prompt = reference.prepare_request(setup.request(), setup.policy())
    start = time.perf_counter() - began
    for name in names:
        reference.set_variant(load_variant(name))
        began = time.perf_counter()
        response = reference.generate(prompt, ANSWER)
        positions, _ = reference.variant.positions(prompt.segments)
        yield {
            "variant": name, "start": start, "seconds": time.perf_counter() - began, "answer": list(response.token_ids),
            "tokens": response.prompt_tokens, "max_position": float(positions.max()), "cause": None,
        }  # fmt: skip


def show(engine: list[dict[str, Any]], reference: list[dict[str, Any]] | None) -> int:
    """The table; 1 when an answer is missing or differs."""
    answers = {row["variant"]: row for row in reference or []}
    rows, good = [], bool(engine)
    for row in engine:
        other = answers.get(row["variant"])
        same = "not compared" if other is None else "yes" if other["answer"] == row["answer"] else "NO"
        good &= row["cause"] is None and same != "NO"
        for where, answer in (("vLLM", row), ("transformers", other)):
            if answer is not None:
                numbers = [f"{answer['start']:.1f}", f"{answer['seconds']:.1f}", f"{answer['gib']:.1f}"]
                rows.append([answer["variant"], where, answer["tokens"], answer["max_position"], *numbers,
                             same if where == "vLLM" else "", answer["cause"] or ""])  # fmt: skip
    headers = ["variant", "through", "prompt tokens", "largest position", "start s", "answer s", "peak GiB",
               "same tokens", "failure"]  # fmt: skip
    print(tabulate(rows, headers))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
