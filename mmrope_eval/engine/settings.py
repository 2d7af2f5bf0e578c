"""What a live engine asks of vLLM: arguments of its engine and environment variables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mmrope_eval.engine import plugin, process, ranks, vllm_compat
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.watch import Limits
from mmrope_eval.media.policy import MediaPolicy, largest_item
from mmrope_eval.models.checkpoint import Checkpoint
from mmrope_eval.models.rope_config import VARIANT_KEY
from mmrope_eval.rope import Variant

_GIB = 2**30
_TINY = 64 * 2**20  # bytes of weights

MANY = 20_000
"""Questions to a tiny model that save more than the start of processes costs: some 20 s at 1 ms a question."""


@dataclass(frozen=True)
class Machine:
    """What of a machine decides where an engine runs."""

    cuda: bool
    plugin: bool
    """Whether processes of vLLM's own would find our models."""
    cores: int
    """Cores that this process may use."""


def this_machine() -> Machine:
    """What this machine has, as vLLM sees it; imports vLLM."""
    return Machine(vllm_compat.is_cuda(), plugin.installed(), process.usable_cores())


def engine_settings(checkpoint: Checkpoint, variant: Variant, options: EngineOptions, policy: MediaPolicy,
                    machine: Machine) -> tuple[dict[str, Any], dict[str, str]]:
    """(arguments of `EngineArgs`, environment variables), for the device of a machine."""
    cuda = machine.cuda
    workers = in_workers(checkpoint, options, machine)
    eager = not cuda if options.enforce_eager is None else options.enforce_eager
    max_model_len = options.max_model_len or checkpoint.max_position
    max_num_seqs = options.max_num_seqs or most_at_once(checkpoint, cuda)
    dtype = checkpoint.dtype if options.dtype == "auto" else options.dtype
    arguments: dict[str, Any] = {
        "model": str(checkpoint.served),
        "hf_overrides": _overrides(checkpoint, variant, options.head_dtype),
        "worker_extension_cls": "mmrope_eval.engine.models.WorkerExtension",
        "load_format": "safetensors",
        "trust_remote_code": checkpoint.trust_remote_code and options.trust_remote_code,
        "dtype": dtype,
        "seed": options.seed,
        "max_model_len": max_model_len,
        "max_num_seqs": max_num_seqs,
        "max_num_batched_tokens": options.max_num_batched_tokens
        or max(max_num_seqs, min(max_model_len, options.room or largest_item(policy, checkpoint.geometry)), 2048),
        "enable_prefix_caching": options.enable_prefix_caching,
        "enforce_eager": eager,
        "tensor_parallel_size": options.tensor_parallel_size,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        # Media arrive at the size the vision encoder takes.
        "mm_processor_kwargs": {"do_resize": False},
        "mm_processor_cache_gb": 0,
        # A checkpoint's generation_config must not change sampling behind the task's back.
        "generation_config": "vllm",
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if not workers:
        arguments["distributed_executor_backend"] = "uni"
    if options.tensor_parallel_size > 1:
        arguments["mm_encoder_tp_mode"] = ranks.encoder_mode(checkpoint, options.tensor_parallel_size)
    if not cuda:
        arguments["skip_mm_profiling"] = True
        arguments["kv_cache_memory_bytes"] = _cpu_cache_bytes(checkpoint, dtype, max_model_len, options.kv_cache_gib)
    variables = _variables(workers=workers, cuda=cuda, eager=eager)
    if options.tensor_parallel_size > 1 and not cuda:
        variables |= ranks.binding(options.tensor_parallel_size)
    # vLLM's own limit, which knows nothing of the size of the weights.
    variables["VLLM_ENGINE_READY_TIMEOUT_S"] = str(math.ceil(Limits(checkpoint, options, cuda).start))
    return arguments, variables


def in_workers(checkpoint: Checkpoint, options: EngineOptions, machine: Machine) -> bool:
    """Whether vLLM runs in processes of its own on a machine.

    They start for tens of seconds, which a GPU's steps are worth, and find our models through the plugin alone. On CPU
    many questions to a tiny model are worth it too: its steps are mostly Python, and so is preparing, of which one
    waits for the other inside one process.
    """
    if options.tensor_parallel_size > 1:
        return True
    if options.workers is not None:
        return options.workers
    many = options.questions >= MANY and checkpoint.weight_bytes < _TINY and machine.cores > 1
    return (machine.cuda or many) and machine.plugin


def most_at_once(checkpoint: Checkpoint, cuda: bool) -> int:
    """Sequences in one step. A step of a tiny model costs nearly the same for many as for few."""
    return 256 if cuda else 128 if checkpoint.weight_bytes < _TINY else 32


def compute_threads(checkpoint: Checkpoint, options: EngineOptions, cuda: bool) -> int | None:
    """Compute threads on CPU; None leaves them as they are.

    Several threads on the matrices of a tiny model spend their time waiting for one another, and for a core that a
    thread preparing media has taken.
    """
    if options.threads is not None or cuda:
        return options.threads
    return 1 if checkpoint.weight_bytes < _TINY else None


def finishes_late(checkpoint: Checkpoint, options: EngineOptions, machine: Machine) -> bool:
    """Whether small prompts go through the processor between the engine's steps rather than beside them.

    Steps take all cores of a machine without a GPU, and what transformers and vLLM do with a prompt is mostly Python:
    beside steps inside this process it takes longer, as both wait for the interpreter by turns.
    """
    return not machine.cuda and not in_workers(checkpoint, options, machine)


def _variables(*, workers: bool, cuda: bool, eager: bool) -> dict[str, str]:
    variables = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1" if workers else "0",
        "VLLM_NO_USAGE_STATS": "1",
        # Our positions are computed for any length; what a config declares limits nothing here.
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
    }
    if workers:
        # Threads are running by now, which a forked child would not survive.
        variables["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
        variables[process.LEAVE_WITH_PARENT] = "1"
    if eager and not cuda:
        # vLLM compiles a few helpers even when asked not to, for seconds each.
        variables["TORCHDYNAMO_DISABLE"] = "1"
    return variables


def _overrides(checkpoint: Checkpoint, variant: Variant, head_dtype: str) -> dict[str, Any]:
    """Select our architecture and variant, and give vLLM's constructor the mrope_section that it insists on.

    Our table replaces what vLLM builds from these rope parameters before the first token.
    """
    pairs = checkpoint.rotary_dim // 2
    rope: dict[str, Any] = {
        "rope_type": "default",
        "rope_theta": checkpoint.rope_theta,
        "mrope_section": [pairs - 2 * (pairs // 3), pairs // 3, pairs // 3],
    }
    if checkpoint.rotary_dim != checkpoint.head_dim:
        rope["partial_rotary_factor"] = checkpoint.rotary_dim / checkpoint.head_dim
    return {
        "architectures": [checkpoint.family.architecture],
        VARIANT_KEY: variant.to_dict(),
        "text_config": {"rope_parameters": rope},
        **({} if head_dtype == "auto" else {"head_dtype": head_dtype}),
    }


def _cpu_cache_bytes(checkpoint: Checkpoint, dtype: str, max_model_len: int, given: float | None) -> int:
    if given is not None:
        return int(given * _GIB)
    size = 4 if "32" in dtype else 2
    a_token = 2 * checkpoint.num_layers * checkpoint.num_kv_heads * checkpoint.head_dim * size
    return math.ceil(min(max(4 * a_token * max_model_len, _GIB // 2), max(16 * _GIB, 1.1 * a_token * max_model_len)))
