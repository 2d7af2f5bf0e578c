"""The options of a live engine: lengths, precision, batches, ranks, replicas, memory, timeouts."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, InstanceOf
from pydantic.dataclasses import dataclass

from mmrope_eval.engine.backends import Backend, backend_of
from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import MediaPolicy


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class EngineOptions:
    """Settings of a `LiveEngine`. Raises `UserError` for values that cannot be."""

    max_model_len: int | None = None
    """Context length in tokens, prompt and generation together; None: what config.json declares."""
    dtype: str = "auto"
    """auto: the dtype in which the checkpoint was saved."""
    head_dtype: str = "auto"
    """Of the output matrix; auto: as the rest. float32 keeps logits apart that half precision rounds to one value."""
    workers: bool | None = None
    """Run vLLM in processes of its own, which prepare nothing and wait for nothing; None: on a GPU, and where a tiny
    model is asked many `questions`. With several ranks it always does."""
    questions: int = 0
    """How many are to come, as far as it is known."""
    tensor_parallel_size: int = 1
    """Ranks that the model is split over: GPUs, or shares of the cores on CPU (see `ranks`)."""
    replicas: int | Literal["auto"] | None = None
    """Engines side by side, each in a process of its own (see `replicas`); auto: as many as there are GPUs for. None:
    one, inside this process."""
    backend: str | InstanceOf[Backend] | None = None
    """What runs engines: a name in `backends.BACKENDS`, or a backend of one's own. None: `inside`, or `processes` where
    `replicas` are wanted."""
    ray_address: str | None = None
    """Of the Ray cluster, HOST:PORT; None: RAY_ADDRESS, or the one that this machine belongs to."""
    data_root: Path | None = None
    """The folder that requests are read from, where the user named one: replicas elsewhere must have it too."""
    gpu_memory_utilization: float = 0.9
    kv_cache_gib: float | None = None
    """KV cache on CPU; None: enough for a few sequences of full length, at least half a GiB."""
    enforce_eager: bool | None = None
    """No torch.compile and no CUDA graphs; None: only on CPU, where compiling costs more than it gives."""
    max_num_seqs: int | None = None
    """Sequences in one step; None: 256 on a GPU; on CPU 128 for a tiny model, else 32."""
    max_num_batched_tokens: int | None = None
    """Tokens in one step; None: room for the largest image or video that the media policy allows."""
    enable_prefix_caching: bool = True
    lookahead: int | None = None
    """Requests prepared ahead of the engine; None: a whole step's, for answers of one length end together."""
    lookahead_bytes: int = 4 * 2**30
    """Media tensors held at a time, in preparation and in the engine; one request may always go ahead."""
    reuse_bytes: int | None = None
    """Media tensors kept for other variants and checkpoints that are asked the same; None: an eighth of the memory that
    is free, at most 16 GiB, shared by the replicas of this machine; 0: none."""
    preparers: int | None = None
    """Threads that decode media and run processors; None: one for every second core, at most 8."""
    threads: int | None = None
    """Compute threads of an engine inside this process on CPU; None: one for a tiny model, else torch's own choice."""
    policy: MediaPolicy | None = None
    """How pictures and videos are read; None: as the checkpoint says (`checkpoint_policy`)."""
    room: int | None = None
    """Vision tokens of the largest picture or video to come; None: of `policy`. For policies that change."""
    media_cache_dir: Path | None = None
    """Where decoded frames are kept; None: nowhere."""
    trust_remote_code: bool = False
    seed: int = 0
    request_timeout: float | None = None
    """Seconds for a request to be answered in, and for the engine to give out anything; None: see `watch.Limits`."""
    start_timeout: float | None = None
    """Seconds for an engine to start in, or to load other weights; None: see `watch.Limits`."""
    may_leave: bool = False
    """Whether the process ends, with a sentence, when an engine inside it is stuck: nothing else can end that. False:
    it is waited for. An engine in workers is ended without harm to this process."""
    log: Path | None = None
    """Where vLLM's words go; None: only its errors are said, on the screen."""

    @cached_property
    def run_by(self) -> Backend:
        """The backend that they ask for. UserError for one that cannot be."""
        return backend_of(self.backend, self.replicas)

    def __post_init__(self) -> None:
        for name in ("max_model_len", "tensor_parallel_size", "max_num_seqs", "max_num_batched_tokens", "lookahead",
                     "lookahead_bytes", "preparers", "threads", "replicas"):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise UserError(f"engine option {name} is {value}: it must be at least 1")
        if self.reuse_bytes is not None and self.reuse_bytes < 0:
            raise UserError(f"engine option reuse_bytes is {self.reuse_bytes}: it must be at least 0")
        if self.run_by.name != "ray" and self.ray_address is not None:
            raise UserError(f"--ray-address {self.ray_address} is of no use without --backend ray: add it, or leave "
                            "the address out")  # fmt: skip
        if not 0 < self.gpu_memory_utilization <= 1:
            raise UserError(f"engine option gpu_memory_utilization is {self.gpu_memory_utilization}: give 0 to 1")
        for name in ("request_timeout", "start_timeout"):
            if (seconds := getattr(self, name)) is not None and not seconds > 0:
                raise UserError(f"engine option {name} is {seconds}: it must be above 0 seconds")
        if self.kv_cache_gib is not None and self.kv_cache_gib <= 0:
            raise UserError(f"engine option kv_cache_gib is {self.kv_cache_gib}: it must be positive")
