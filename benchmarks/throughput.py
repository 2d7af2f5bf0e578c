"""Answers a second: ours, the same prompts in vLLM's own loop, and stock lmms-eval, side by side.

    python benchmarks/throughput.py [--sizes 1 100] [--pictures 112x112 640x480] [--rounds 3] [--scratch DIR]

Time: about half an hour on two shared cores.

ChartQA-like questions, each about a picture of its own, to random weights that answer with 7 tokens. A process starts
one engine and takes turns: `limit` hands prompts that were rendered beforehand to vLLM, all at once, and steps it until
they are answered, as vLLM's own `generate` does; `ours` is a whole `mmrope-eval run` on that engine, from rows to
answers on disk, without the start. So load from elsewhere hits both alike, and only their ratio counts. A second ratio
is of processor time of the thread that steps the engine, which other load hardly touches: what it does besides.

`stock` is `lmms_eval --model vllm` in a process of its own, 64 questions a batch (its default is 1): what its
`generate_until` took, the better of two passes. All in bfloat16 with the same limits. Needs `lmms-eval`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SIZES: dict[str, dict[str, Any]] = {
    "1": {"num_layers": 8, "num_heads": 4, "num_kv_heads": 4, "intermediate_size": 384},
    "100": {"num_layers": 16, "num_heads": 12, "num_kv_heads": 12, "head_dim": 64, "intermediate_size": 1664},
}
QUESTIONS = {("1", "112x112"): 1000, ("1", "640x480"): 200, ("100", "112x112"): 300, ("100", "640x480"): 32}
TOKENS = 7
"""Of an answer; eight times the same one, which random weights like to give, would be no answer."""
PIXELS = 640 * 480 + 28 * 28 * 40


def main() -> int:
    """Measure every size and picture; a line each as it is known, a table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=[*SIZES], help="millions of parameters")
    parser.add_argument("--pictures", nargs="+", default=["112x112", "640x480"], metavar="WxH")
    parser.add_argument("--questions", type=int, help="per case (default: 1000 down to 32, by size)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--places", nargs="+", choices=["inside", "workers"], default=["inside", "workers"],
                        help="our engine inside the process that asks, or in one of its own")
    parser.add_argument("--no-stock", action="store_true", help="leave stock lmms-eval out")
    parser.add_argument("--max-num-seqs", type=int, help="answers in one step, ours and limit (default: ours)")
    parser.add_argument("--scratch", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--turns", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--stock", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turns is not None:
        return turns(**args.turns)
    if args.stock is not None:
        return stock(args.stock)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = args.scratch or Path(temporary)
        rows = [row for size in args.sizes for picture in args.pictures for row in case(args, scratch, size, picture)]
    print("\n| parameters | picture | engine | ours | limit | stock | ours / limit | by CPU time | ours / stock |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|", *rows, sep="\n")
    return 0


def case(args: argparse.Namespace, scratch: Path, size: str, picture: str) -> list[str]:
    """One size of model and of picture: the rows of its table."""
    from mmrope_demo.checkpoints import build_checkpoint

    count = args.questions or QUESTIONS.get((size, picture), 32)
    folder = scratch / f"{size}-{picture}"
    shutil.rmtree(folder, ignore_errors=True)
    checkpoint = build_checkpoint("qwen2.5-vl", folder / "checkpoint", dtype="bfloat16", **SIZES[size])
    parameters = (checkpoint / "model.safetensors").stat().st_size / 2e6
    mirror(folder / "data", count, picture)
    theirs = None if args.no_stock else ask_stock(folder, checkpoint)
    rows = []
    for place in args.places:
        job = {"checkpoint": str(checkpoint), "data": str(folder / "data"), "output": str(folder / place),
               "workers": place == "workers", "rounds": args.rounds, "seqs": args.max_num_seqs}  # fmt: skip
        seconds_by_name = child(["--turns", json.dumps(job)], folder / f"{place}.log")
        ours, limit = ([count / seconds for seconds in seconds_by_name[name]] for name in ("ours", "limit"))
        ratio = statistics.median(a / b for a, b in zip(ours, limit, strict=True))
        threads = zip(seconds_by_name["limit busy"], seconds_by_name["ours busy"], strict=True)
        busy = statistics.median(a / b for a, b in threads)
        stepping = f"{busy:.2f}" if place == "inside" else ""  # elsewhere that thread steps nothing
        mine, most = statistics.median(ours), statistics.median(limit)
        against = (f"{count / theirs:.0f}", f"{mine * theirs / count:.2f}") if theirs else ("", "")
        rows.append(f"| {parameters:.1f} M | {picture} | {place} | {mine:.0f}/s | {most:.0f}/s | {against[0]}/s | "
                    f"{ratio:.2f} | {stepping} | {against[1]} |")
        print(rows[-1], {name: [round(s, 2) for s in seconds] for name, seconds in seconds_by_name.items()},
              f"stock {theirs}", flush=True)  # fmt: skip
    return rows


def child(arguments: list[str], log: Path) -> Any:
    """What this file prints last, as JSON, run in a process of its own."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "benchmarks")])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
                   "VLLM_CPU_KVCACHE_SPACE": "1", "MMROPE_CACHE": str(log.parent / "cache"),
                   "HF_HOME": str(log.parent / "hf-home")}  # fmt: skip
    with log.open("w") as words:
        done = subprocess.run([sys.executable, __file__, *arguments], env=environment, stdout=subprocess.PIPE,
                              stderr=words, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"a measurement failed:\n{log.read_text()[-3000:]}")
    return json.loads(next(line for line in reversed(done.stdout.splitlines()) if line.startswith("{")))


# --- ours and the limit, in turns on one engine ---------------------------------------------------------------------


def turns(checkpoint: str, data: str, output: str, workers: bool, rounds: int, seqs: int | None) -> int:
    """Seconds of every turn, printed as JSON; the first turn of each is thrown away."""
    from mmrope_eval.engine import vllm_compat
    from mmrope_eval.engine.live import LiveEngine
    from mmrope_eval.engine.options import EngineOptions
    from mmrope_eval.media.image import MediaPolicy
    from mmrope_eval.models.checkpoint import read_checkpoint
    from mmrope_eval.rope import load_variant
    from mmrope_eval.run.config import RunConfig
    from mmrope_eval.run.run import run

    policy = MediaPolicy(image_min_pixels=4 * 28 * 28, image_max_pixels=PIXELS)
    options = EngineOptions(max_model_len=2048, workers=workers, policy=policy, max_num_seqs=seqs, reuse_bytes=0)
    seconds: dict[str, list[float]] = {"ours": [], "limit": [], "ours busy": [], "limit busy": []}
    with LiveEngine.start(read_checkpoint(checkpoint), load_variant("mrope"), options) as live:
        held: Any = Held(live)
        for turn in range(rounds + 1):
            folder = Path(output) / str(turn)
            vllm_compat.reset_caches(live._engine)
            run(RunConfig((checkpoint,), ("chartqa",), folder, ("mrope",), data_root=Path(data),
                          max_tokens=((None, TOKENS),), options=options), lambda *_: held)  # fmt: skip
            (session,) = json.loads((folder / "manifest.json").read_text())["sessions"]
            seconds["ours"].append(session["generation"])
            if turn == 0:
                prepared = [held.live._preparer.prepare(request.made()) for request in held.seen]
            vllm_compat.reset_caches(live._engine)
            limit, busy = own_loop(live._engine, prepared)
            seconds["limit"].append(limit)
            seconds["ours busy"].append(held.busy)
            seconds["limit busy"].append(busy)
    print(json.dumps({name: times[1:] for name, times in seconds.items()}))
    return 0


class Held:
    """A running engine that many runs take as theirs; it remembers what it was asked first."""

    deaths = 0

    def __init__(self, live: Any) -> None:
        self.live = live
        self.seen: list[Any] = []
        self.busy = 0.0
        """Processor seconds, in the last stream, of the thread that steps the engine and takes its answers."""
        self._first = True

    def stream(self, requests: Iterable[Any]) -> Iterator[Any]:
        first, self._first = self._first, False
        began = time.thread_time()
        yield from self.live.stream(self._noting(requests) if first else requests)
        self.busy = time.thread_time() - began

    def _noting(self, requests: Iterable[Any]) -> Iterator[Any]:
        for request in requests:
            self.seen.append(request)
            yield request

    def switch(self, **_: Any) -> None:
        pass

    def close(self) -> None:
        pass


def own_loop(engine: Any, prepared: list[Any]) -> tuple[float, float]:
    """Seconds in which vLLM answers prompts that it gets all at once, without the log-probability that we ask for, and
    processor seconds of the thread that steps it."""
    params = [item.params.clone() for item in prepared]
    for sampling in params:
        sampling.logprobs = None
    began, busy = time.perf_counter(), time.thread_time()
    for number, (item, sampling) in enumerate(zip(prepared, params, strict=True)):
        engine.add_request(f"limit-{number}", item.engine_input, sampling)
    while engine.has_unfinished_requests():
        engine.step()
    return time.perf_counter() - began, time.thread_time() - busy


# --- stock ----------------------------------------------------------------------------------------------------------


def ask_stock(folder: Path, checkpoint: Path) -> float:
    """Seconds that stock lmms-eval takes for the same questions."""
    from stock import stock_tasks

    model = folder / "stock-checkpoint"
    shutil.copytree(checkpoint, model)
    settings = json.loads((model / "preprocessor_config.json").read_text())
    settings["size"]["longest_edge"] = PIXELS
    (model / "preprocessor_config.json").write_text(json.dumps(settings))
    tasks = stock_tasks(folder / "stock-tasks", folder / "data")
    for path in tasks.glob("*.yaml"):  # the mirror has one of them
        if "chartqa" not in path.name:
            path.unlink()
    with (tasks / "stock_chartqa.yaml").open("a") as task:
        task.write(f"generation_kwargs: {{max_new_tokens: {TOKENS}, temperature: 0, do_sample: false}}\n")
    arguments = [f"model={model}", f"max_new_tokens={TOKENS}", f"max_pixels={PIXELS}", "max_model_len=2048",
                 "enforce_eager=True", "trust_remote_code=False"]  # fmt: skip
    times = child(["--stock", "--model", "vllm", "--model_args", ",".join(arguments), "--tasks", "stock_chartqa",
                   "--include_path", str(tasks), "--batch_size", "64", "--output_path", str(folder / "stock-out")],
                  folder / "stock.log")  # fmt: skip
    return float(min(times["stock"]))


def stock(arguments: list[str]) -> int:
    """Stock lmms-eval's command line; what its generation took is printed as JSON, there being no hook for that."""
    from lmms_eval.__main__ import cli_evaluate
    from lmms_eval.models.chat.vllm import VLLM

    seconds: list[float] = []
    generate = VLLM.generate_until

    def timed(self: Any, requests: Any) -> Any:
        for _ in range(2):
            self.client.reset_prefix_cache()
            self.client.llm_engine.reset_mm_cache()
            self.client.llm_engine.reset_encoder_cache()
            began = time.perf_counter()
            answers = generate(self, requests)
            seconds.append(time.perf_counter() - began)
        return answers

    VLLM.generate_until = timed
    sys.argv = ["lmms_eval", *arguments]
    cli_evaluate()
    print(json.dumps({"stock": seconds}), flush=True)
    return 0


# --- questions ------------------------------------------------------------------------------------------------------


def mirror(folder: Path, count: int, picture: str) -> None:
    """A ChartQA of so many questions, each about a picture of its own of noise that PNG can press."""
    sys.path[:0] = [str(ROOT / "tests" / "support")]
    import numpy as np
    import suite_mirror
    from PIL import Image

    width, height = map(int, picture.split("x"))

    def encoded(number: int) -> bytes:
        coarse = np.random.default_rng(number).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST).save(buffer, "PNG")
        return buffer.getvalue()

    suite_mirror.chartqa(folder / "lmms-lab-encoder/ChartQA",
                         [(encoded(i), f"What is the value of bar {i} in the year {1900 + i % 120}?", str(i),
                           "human_test") for i in range(count)])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
