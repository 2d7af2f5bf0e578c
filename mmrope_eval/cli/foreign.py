"""Options of other harnesses, and what does the same here: what someone from lmms-eval, lm-eval or vLLM types first.

Sources: the parsers of lmms-eval 0.7.3 (`lmms_eval/__main__.py`) and of lm-evaluation-harness 0.4 (docs/interface.md
there), and generation parameters of transformers and vLLM. A test holds the list to the installed lmms-eval's parser.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Foreign:
    """`answer` is what a user reads, on every command that has our option `ours` and all that the answer names."""

    ours: str
    answer: str


LIMIT = Foreign("--max-tokens", "an answer's limit is --max-tokens N here, or --max-tokens TASK:N for one task")
GENERATION = Foreign("--temperature", "how answers are generated has options of its own here: --temperature F, "
                     "--max-tokens N, --thinking on or off")  # fmt: skip
THOUGHTS = Foreign("--thinking", "thoughts are turned on and off by --thinking on and --thinking off here")
DEVICES = Foreign("--tensor-parallel-size", "the GPUs are those of CUDA_VISIBLE_DEVICES, else it is the CPU; "
                  "--tensor-parallel-size N splits a model over N, --replicas N runs N engines")  # fmt: skip
ONE_WAY = Foreign("--tasks", "every checkpoint is asked in one way, by vLLM with its own chat template")
NO_JUDGE = Foreign("--tasks", "there is no judge model to start: answers are scored by rules")
CLOCK = Foreign("--tasks", "all times are written in UTC")
LOADED = Foreign("--tasks", "the checkpoint is --model here, and what loads it has options of its own: --dtype, "
                 "--max-model-len, --tensor-parallel-size, --gpu-memory-utilization")  # fmt: skip
BATCHES = Foreign("--max-num-seqs", "vLLM makes its own batches; --max-num-seqs N is the most answers in one step")
KEPT = Foreign("--output", "every answer is kept in --output, and the same command goes on where it stopped; --fresh "
               "asks anew")  # fmt: skip
SAMPLES = Foreign("--output", "prompts, answers and scores of all samples are always written, to OUTPUT/samples; "
                  "'mmrope-eval samples OUTPUT' shows some")  # fmt: skip
GREEDY = Foreign("--temperature", "answers are decoded greedily; --temperature F draws them, and there is no other way")
SEEDS = Foreign("--temperature", "several answers to each question are several seeds: --temperature F --seed 0,1,2")
SHOTS = Foreign("--tasks", "every benchmark is asked without examples; 'mmrope-eval show TASK' prints the prompts")
SYSTEM = Foreign("--system", "it is --system TEXT or --system FILE here; the questions' wording is --prompts NAME")
TEMPLATE = Foreign("--tasks", "the checkpoint's own chat template is always applied")
ELSEWHERE = Foreign("--output", "results are files, OUTPUT/scores.json and samples/*.jsonl; nothing is sent anywhere")
TALK = Foreign("--verbose", "it is --quiet or --verbose; what vLLM says is in OUTPUT/log.txt, traces in errors.log")
PART = Foreign("--limit", "--limit N asks N samples spread over a benchmark, --limit first:N its first N")
OUTPUT = Foreign("--output", "it is written --output")
PICTURES = Foreign("--max-pixels", "what media may take is --max-pixels, --min-pixels, --fps and --max-frames here")
NONE = Foreign("--tasks", "there is nothing like it here")

FOREIGN: Final[Mapping[str, Foreign]] = {
    **dict.fromkeys(("max-gen-toks", "max-gen-tokens"), LIMIT),
    "max-new-tokens": Foreign("--max-tokens", "it is written --max-tokens or --max-new-tokens"),
    **dict.fromkeys(("gen-kwargs", "generation-kwargs", "generation-config"), GENERATION),
    "max-tokens": Foreign("--max-tokens", "it is written --max-tokens"),
    **dict.fromkeys(("enable-thinking", "chat-template-kwargs", "reasoning", "think", "no-thinking", "disable-thinking",
                     "reasoning-tags"), THOUGHTS),
    **dict.fromkeys(("model-args", "pretrained"), LOADED),
    "device": DEVICES, "force-simple": ONE_WAY, "launcher-args": NO_JUDGE, "timezone": CLOCK,
    "json": Foreign("--format", "it is --format json here"), "format": Foreign("--json", "it is --json here"),
    **dict.fromkeys(("batch-size", "max-batch-size"), BATCHES),
    **dict.fromkeys(("use-cache", "cache-requests", "resume", "continue", "rerun", "force"), KEPT),
    **dict.fromkeys(("log-samples", "log-samples-suffix", "write-out", "process-with-media"), SAMPLES),
    **dict.fromkeys(("top-p", "top-k", "do-sample", "num-beams"), GREEDY),
    **dict.fromkeys(("repeats", "num-samples"), SEEDS),
    **dict.fromkeys(("num-fewshot", "fewshot-as-multiturn", "few-shot"), SHOTS),
    **dict.fromkeys(("system-instruction", "system-prompt", "system-message"), SYSTEM),
    "apply-chat-template": TEMPLATE,
    **dict.fromkeys(("wandb-args", "wandb-config-args", "wandb-log-samples", "swanlab-args", "swanlab-log-samples",
                     "hf-hub-log-args"), ELSEWHERE),
    **dict.fromkeys(("verbosity", "tui"), TALK),
    **dict.fromkeys(("offset", "samples", "sample-ids"), PART),
    "output-path": OUTPUT,
    **dict.fromkeys(("max-num-frames", "max-frames-num", "nframes", "num-frames", "video-fps"), PICTURES),
    "include-path": Foreign("--tasks-dir", "a folder of task files is --tasks-dir DIR; one file can stand in --tasks"),
    "predict-only": Foreign("--tasks", "answers are scored as they come; 'mmrope-eval rescore' scores them again"),
    "check-integrity": Foreign("--data-root", "'mmrope-eval data check' looks through a mirror of the data sets"),
    "show-config": Foreign("--tasks", "'mmrope-eval show TASK' prints a task, OUTPUT/manifest.json says what was used"),
    "trust-remote-code": Foreign("--trust-remote-code", "it is written --trust-remote-code"),
    "config": Foreign("--tasks", "runs as a file are 'mmrope-eval study FILE'"),
    **dict.fromkeys(("baseline", "power", "power-analysis", "effect-size", "alpha", "correlation", "std-a", "std-b"),
                    Foreign("--tasks", "'mmrope-eval compare' and 'check' compare runs and say what they notice")),
    **dict.fromkeys(("agentic-trace-mode", "process-docs-parallel", "metadata", "confirm-run-unsafe-code"), NONE),
}  # fmt: skip
"""By name, with hyphens for underscores."""


def answer(word: str, options: Collection[str]) -> str:
    """What to say of an unknown option to a user of a command with these options; "" where nothing is known of it, or
    the answer is about options that this command does not have."""
    foreign = FOREIGN.get(word.lstrip("-").replace("_", "-"))
    if foreign is None:
        return ""
    own_words = re.sub("'[^']*'", "", foreign.answer)  # what is quoted is another command
    needed = {foreign.ours, *re.findall("--[a-z][a-z-]*", own_words)}
    return foreign.answer if needed <= set(options) else ""
