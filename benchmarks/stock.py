"""How long stock lmms-eval takes for twelve variants on three benchmarks (once each, `--model vllm`), against ours.

    python benchmarks/stock.py [--scratch DIR]

Time: several minutes on two shared cores.

Both sides get the same small world, the same tiny checkpoint and the same three benchmarks. Wherever the two cannot be
made equal, the difference favours stock: its answers are capped at 50 tokens (left alone it raises every limit to
4,096), it gets all samples in one batch (its default is one at a time), pictures no larger than ours, and no
torch.compile. It is measured warm: one run is thrown away first. It cannot read videos with the tested torchvision, so
it needs `decord` (`pip install decord`). Ours is measured with an empty folder for results.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from crash import TASKS, checkpoint_and_world

VARIANTS = ("vanilla", "v2pe", "mrope", "mrope-i", "mhrope", "videorope", "hope", "circlerope", "ilrope", "omnirope",
            "mmrope", "grape")  # fmt: skip
STOCK_TASKS = {
    "refcoco_bbox_rec_val": ("refcoco/_default_template_bbox_rec_yaml", "lmms-lab-encoder/RefCOCO", "val"),
    "chartqa": ("chartqa/chartqa.yaml", "lmms-lab-encoder/ChartQA", "test"),
    "temporal_grounding_charades": ("charades_sta/charades.yaml", "lmms-eval/charades_sta", "test"),
}
MAX_PIXELS = 8 * 8 * 32 * 32
"""Of both sides' pictures."""


def main() -> int:
    """Measure both and print the ratio; exit code 1 when it is below 8."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, default=None, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    if importlib.util.find_spec("decord") is None:
        raise SystemExit("stock lmms-eval reads videos with decord, which is missing; run: pip install decord")
    with tempfile.TemporaryDirectory() as temporary:
        scratch = args.scratch or Path(temporary)
        model, data = checkpoint_and_world(scratch)
        shutil.rmtree(scratch / "ours", ignore_errors=True)
        ours = timed(our_command(model, data, scratch / "ours"), scratch / "ours.log")
        again = timed(our_command(model, data, scratch / "ours"), scratch / "again.log")
        command, environment = stock_command(model, data, scratch)
        timed(command, scratch / "stock-cold.log", environment)
        stock = timed(command, scratch / "stock.log", environment)
        answered = count_answers(scratch / "stock-out")
        if not answered:  # lmms-eval exits with 0 when it fails
            raise SystemExit(f"the stock run answered nothing:\n{(scratch / 'stock.log').read_text()[-3000:]}")
    runs = len(VARIANTS)
    ratio = runs * stock.wall / ours.wall
    print(f"stock, one variant, {answered} answers, warm: {stock}; x {runs}: {runs * stock.wall:.0f} s")
    print(f"mmrope-eval run, {runs} variants: {ours}; started again: {again}")
    print(f"ratio: {ratio:.1f} on the clock, {runs * stock.cpu / ours.cpu:.1f} of processor time")
    return 0 if ratio >= 8 else 1


@dataclass(frozen=True)
class Cost:
    """Seconds of a command on the clock, and of processor time, which other load on the machine hardly touches."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.cpu:.0f} s of processor time)"


def processor_seconds() -> float:
    """Processor time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def timed(command: list[str], log: Path, environment: dict[str, str] | None = None) -> Cost:
    """What a command costs; its output goes to a log. SystemExit with the log's end when it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    began, used = time.perf_counter(), processor_seconds()
    with log.open("w") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment, check=False)
    cost = Cost(time.perf_counter() - began, processor_seconds() - used)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed ({done.returncode}):\n{log.read_text()[-3000:]}")
    return cost


def our_command(model: Path, data: Path, output: Path) -> list[str]:
    """All variants in one run, with media small enough for a processor without a GPU."""
    return [sys.executable, "-m", "mmrope_eval", "run", "--model", str(model), "--variant", ",".join(VARIANTS),
            "--tasks", TASKS, "--data-root", str(data), "--output", str(output), "--max-model-len", "2048",
            "--max-num-seqs", "64", "--max-pixels", str(MAX_PIXELS), "--fps", "1", "--max-frames", "8",
            "--video-tokens", "128"]


def stock_command(model: Path, data: Path, scratch: Path) -> tuple[list[str], dict[str, str]]:
    """The stock command line and its environment: offline, on the same world and checkpoint."""
    tasks = stock_tasks(scratch / "stock-tasks", data)
    home = scratch / "hf-home"
    home.mkdir(parents=True, exist_ok=True)
    link = home / "charades_sta"
    if not link.is_symlink():
        link.symlink_to((data / "lmms-eval/charades_sta").resolve())
    limited = checkpoint_with_limit(model, scratch / "stock-qwen2.5-vl")
    arguments = [f"model={limited}", "max_new_tokens=50", "nframes=8", f"max_pixels={MAX_PIXELS}", "max_model_len=2048",
                 "enforce_eager=True", 'limit_mm_per_prompt={"image":8}', "trust_remote_code=False"]
    command = [sys.executable, "-m", "lmms_eval", "--model", "vllm", "--model_args", ",".join(arguments),
               "--tasks", ",".join(f"stock_{name}" for name in STOCK_TASKS), "--include_path", str(tasks),
               "--batch_size", "64",
               "--log_samples", "--output_path", str(scratch / "stock-out")]
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
                   "TOKENIZERS_PARALLELISM": "false"}
    return command, environment


def stock_tasks(folder: Path, data: Path) -> Path:
    """Copies of the stock task files under names of their own, pointed at the small world, without a login."""
    import lmms_eval

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    root = Path(lmms_eval.__file__).parent / "tasks"
    for name, (path, dataset, split) in STOCK_TASKS.items():
        lines = [f"include: {root / path}", f"task: stock_{name}", f"dataset_path: {(data / dataset).resolve()}",
                 f"test_split: {split}", "dataset_kwargs: {}"]
        (folder / f"stock_{name}.yaml").write_text("\n".join(lines) + "\n")
    return folder


def checkpoint_with_limit(source: Path, target: Path) -> Path:
    """The checkpoint with the limit on pictures in its processor's settings, which is where stock reads it."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    path = target / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    settings["size"]["longest_edge"] = MAX_PIXELS
    path.write_text(json.dumps(settings))
    return target


def count_answers(folder: Path) -> int:
    """Samples that the newest stock run logged."""
    logs = sorted(folder.rglob("*samples_*.jsonl"), key=lambda path: path.stat().st_mtime)[-len(STOCK_TASKS):]
    return sum(len(path.read_text().splitlines()) for path in logs)


if __name__ == "__main__":
    sys.exit(main())
