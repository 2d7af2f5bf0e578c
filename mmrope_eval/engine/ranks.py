"""Tensor-parallel ranks: what of a checkpoint can be split over them, and what of this machine each of them gets.

vLLM asserts most of this deep inside its start, minutes later, or binds nothing: here it is said at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from mmrope_eval.errors import UserError
from mmrope_eval.models.checkpoint import Checkpoint
from mmrope_eval.models.config import TextConfig, VisionConfig, parse_part, text_part

BIND: Final = "VLLM_CPU_OMP_THREADS_BIND"
"""vLLM's variable: which cores each rank computes on, ranks apart by ``|``. Its own choice is a NUMA node a rank."""

VOCABULARY_BLOCK: Final = 64
"""vLLM pads the vocabulary to a multiple of it before it is split."""

MOST: Final = 64
"""Ranks up to which a refusal looks for a number that fits."""


def require_split(checkpoint: Checkpoint, ranks: int) -> None:
    """UserError where the language model cannot be split over so many ranks, with the numbers that it can be."""
    text, _ = _parts(checkpoint)
    problem = split_problem(text, ranks)
    if problem is None:
        return
    *most, last = [str(n) for n in range(1, MOST + 1) if split_problem(text, n) is None]
    fit = f"{', '.join(most)} or {last}" if most else last
    raise UserError(f"--tensor-parallel-size {ranks}: {problem} of '{checkpoint.path}' cannot be split over {ranks} "
                    f"ranks; it can over {fit}")  # fmt: skip


def split_problem(text: TextConfig, ranks: int) -> str | None:
    """What of a language model cannot be split over so many ranks, in words; None where all of it can.

    KV heads that are fewer than ranks are copied, each to the same number of them.
    """
    if text.num_attention_heads % ranks:
        return f"the {text.num_attention_heads} query heads (num_attention_heads)"
    heads = text.kv_heads
    if max(heads, ranks) % min(heads, ranks):
        return f"the {heads} KV heads (num_key_value_heads)"
    if text.intermediate_size % ranks:
        return f"the {text.intermediate_size} channels of the feed-forward layers (intermediate_size)"
    padded = -(-text.vocab_size // VOCABULARY_BLOCK) * VOCABULARY_BLOCK
    if padded % ranks:
        return f"the vocabulary of {text.vocab_size} tokens (vocab_size, padded to {padded})"
    return None


def encoder_mode(checkpoint: Checkpoint, ranks: int) -> Literal["weights", "data"]:
    """How the vision encoder is shared out (vLLM's `mm_encoder_tp_mode`): its weights, or, where they do not divide,
    pictures, with a whole encoder in every rank."""
    _, vision = _parts(checkpoint)
    return "data" if vision.num_heads % ranks or vision.inner_width % ranks else "weights"


def _parts(checkpoint: Checkpoint) -> tuple[TextConfig, VisionConfig]:
    config, where = checkpoint.config, f"{checkpoint.path}/config.json"
    return (parse_part(checkpoint.family.text, text_part(config), where),
            parse_part(checkpoint.family.vision, config["vision_config"], f"{where}, vision_config"))  # fmt: skip


def require_devices(ranks: int) -> None:
    """UserError where this machine has fewer GPUs, or without any fewer cores, than ranks. Imports torch."""
    import torch

    gpus = int(torch.cuda.device_count())
    if 0 < gpus < ranks:
        raise UserError(f"--tensor-parallel-size {ranks}: this process sees {gpus} GPU{'s' * (gpus > 1)} "
                        f"(CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}); give at most "
                        f"{gpus}")
    if gpus == 0:
        core_binding(ranks, physical_cores(), os.environ)


def binding(ranks: int) -> dict[str, str]:
    """The variable that binds the ranks of an engine on CPU to cores of this machine. UserError as `core_binding`."""
    cores = core_binding(ranks, physical_cores(), os.environ)
    return {} if cores is None else {BIND: cores}


def core_binding(ranks: int, cores: Sequence[int], environment: Mapping[str, str]) -> str | None:
    """Which cores each rank gets, as vLLM's variable says it: equal shares, neighbours together.

    None where the user has said it. UserError for fewer cores than ranks, and for a variable that is about another
    number of ranks or cores that there are not.
    """
    binding = environment.get(BIND, "auto")
    if binding not in ("auto", "nobind", ""):
        _check_binding(binding, ranks)
        return None
    if len(cores) < ranks:
        raise UserError(f"--tensor-parallel-size {ranks}: on CPU every rank needs a core of its own, and this process "
                        f"may use {len(cores)}; give at most {len(cores)}")
    if binding == "nobind":
        return None
    return "|".join(",".join(map(str, share)) for share in equal_shares(cores, ranks))


def equal_shares(cores: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """So many shares of the cores, neighbours together; what does not divide is left over."""
    size = len(cores) // count
    return [tuple(cores[i * size : (i + 1) * size]) for i in range(count)]


def _check_binding(binding: str, ranks: int) -> None:
    shares = binding.split("|")
    if not all(re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", share) for share in shares):
        raise UserError(f"{BIND} is '{binding}': give the cores of each rank, such as 0-3|4-7, or unset it")
    if len(shares) != ranks:
        raise UserError(f"{BIND} is '{binding}', cores for {len(shares)} ranks, and --tensor-parallel-size is {ranks}: "
                        "give as many shares, or unset it")
    missing = sorted({core for share in shares for core in _cores(share)} - os.sched_getaffinity(0))
    if missing:
        raise UserError(f"{BIND} is '{binding}', and this process may not use core {missing[0]}: give others, or "
                        "unset it")


def _cores(share: str) -> Iterator[int]:
    """The cores that a list like ``0,4-6`` names."""
    for part in share.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def physical_cores() -> list[int]:
    """One logical processor of every core that this process may use, neighbours in one socket together (Linux)."""
    places: dict[tuple[int, int], int] = {}
    for number in sorted(os.sched_getaffinity(0)):
        places.setdefault(_place(number), number)
    return [number for _, number in sorted(places.items())]


def _place(number: int) -> tuple[int, int]:
    """(socket, core) of a logical processor; where the system does not say, each is a core of its own."""
    folder = Path(f"/sys/devices/system/cpu/cpu{number}/topology")
    try:
        return int((folder / "physical_package_id").read_text()), int((folder / "core_id").read_text())
    except (OSError, ValueError):
        return -1, number


Record = tuple[str, str, float, float]
"""What `PositionLog.drain` returns of one prompt."""


def agreed(records: Iterable[Iterable[Record]]) -> list[Record]:
    """The records of positions that all ranks have alike, by the lists of each: one that differs is no record."""
    first, *others = (list(map(tuple, taken)) for taken in records)
    others_taken = [set(taken) for taken in others]
    return [record for record in first if all(record in taken for taken in others_taken)]  # type: ignore[misc]
