"""A running engine that takes requests as they come and changes its RoPE variant or its weights between them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, Self

from mmrope_eval.engine import prepare, process, ranks, vllm_compat
from mmrope_eval.engine.backend import Driver
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.prepare import Preparer, RenderedPrompts
from mmrope_eval.engine.prompt import PromptWriter
from mmrope_eval.engine.run import EngineRun, RequestQueue
from mmrope_eval.engine.settings import compute_threads, engine_settings, finishes_late, in_workers, this_machine
from mmrope_eval.engine.vllm_workers import StartingProcesses, WorkerProcesses, last_words, lost
from mmrope_eval.engine.watch import Limits, Watch
from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import MediaPolicy, checkpoint_policy
from mmrope_eval.messages import Deferred, EngineDiedError, EngineStartError, Failure, Request, Response
from mmrope_eval.models.checkpoint import Checkpoint, switch_problem
from mmrope_eval.rope import Variant

__all__ = ["EngineOptions", "LiveEngine", "SwitchError"]


class SwitchError(UserError):
    """The running engine cannot take this checkpoint; another engine can."""


class LiveEngine:
    """One vLLM engine, started once. Use `LiveEngine.start`, and `close` or a `with` block at the end.

    One stream at a time, from one thread. An engine that dies, or does not answer in time (see `Limits`), ends the call
    at hand with `EngineDiedError`; close it then, and start another.

    The same request gives the same tokens whatever else is in the batch as far as the kernels' results do not depend on
    the batch's shape: in float32 on CPU they differ by rounding only, and a tie between two tokens is what could turn;
    on GPUs in half precision near-ties can turn, as in any vLLM engine.
    """

    deaths: Final = 0
    """Nothing inside it is replaced: when it dies, it is over."""

    def __init__(self, engine: Any, checkpoint: Checkpoint, variant: Variant, options: EngineOptions,
                 policy: MediaPolicy, watch: Watch | None = None) -> None:
        """Take over a vLLM engine that runs our models; `start` is the way to get one."""
        self._engine: Any = engine
        self._options, self._policy = options, policy
        self._watch = watch or Watch()
        machine = this_machine()
        self._limits = Limits(checkpoint, options, machine.cuda)
        self._streaming = False
        self._late = finishes_late(checkpoint, options, machine)
        self._resources = ExitStack()
        self.checkpoint = checkpoint
        self.variant = variant
        with self._watch.limit(self._limits.start, "asking for the engine's shape"):
            self._shape = vllm_compat.engine_shape(engine)
        self._writer = PromptWriter(checkpoint)
        sharing = options.replicas if isinstance(options.replicas, int) else 1
        room = prepare.room(sharing, process.available_memory()) if options.reuse_bytes is None else options.reuse_bytes
        self._reuse = RenderedPrompts(room)
        self._preparer = self._make_preparer()

    @classmethod
    def start(cls, checkpoint: Checkpoint, variant: Variant, options: EngineOptions | None = None) -> Self:
        """Start vLLM on a checkpoint with a variant inside.

        Raises `VariantError` before anything is started when the variant does not fit the checkpoint, `UserError` for
        a missing vLLM, for ranks that the model or the machine has no room for, and for a second engine inside one
        process. Environment variables that vLLM reads are set for the time of the start only.
        """
        options = options or EngineOptions()
        policy = options.policy or checkpoint_policy(checkpoint, {})[0]
        _fit(variant, checkpoint)
        if options.tensor_parallel_size > 1:
            ranks.require_split(checkpoint, options.tensor_parallel_size)
            ranks.require_devices(options.tensor_parallel_size)
        warning = vllm_compat.version_warning(vllm_compat.vllm_version())
        if warning:
            warnings.warn(warning, stacklevel=2)
        asked = os.environ.get("VLLM_LOGGING_LEVEL")
        with process.words_of_start(options.log, asked), process.uncollected(), ExitStack() as resources:
            machine = this_machine()
            workers = in_workers(checkpoint, options, machine)
            arguments, variables = engine_settings(checkpoint, variant, options, policy, machine)
            if not workers:
                if vllm_compat.runs_in_this_process():
                    raise UserError("this process runs an engine already: close it first, or set workers=True")
                resources.enter_context(process.torch_threads(compute_threads(checkpoint, options, machine.cuda)))
                if "TORCHDYNAMO_DISABLE" in variables:
                    resources.enter_context(process.no_dynamo())
            limits = Limits(checkpoint, options, machine.cuda)
            watch, engine = _start_watched(arguments, variables, limits, workers, resources)
            resources.enter_context(process.words_of_engine(options.log))
            resources.callback(vllm_compat.stop_engine, engine)
            live = cls(engine, checkpoint, variant, options, policy, watch)
            live._resources = resources.pop_all()
        return live

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the engine; a second call does nothing. After an exception its processes are not asked but ended."""
        if self._engine is not None and self._watch.workers is not None and sys.exception() is not None:
            self._watch.workers.kill()  # at work they would not listen for seconds
        self._engine = None
        self._resources.close()

    def switch(self, *, variant: Variant | None = None, checkpoint: Checkpoint | None = None,
               policy: MediaPolicy | None = None) -> None:
        """Go on with another variant, the weights of another checkpoint, or other media limits; the rest stays.

        All caches are emptied. Limits should stay within those that the engine was started with, for which it made
        room. Raises `SwitchError` for a checkpoint that is not a retrained copy of the running one (another network,
        tokenizer or processor) and `VariantError` for a variant that does not fit; the engine then goes on as it was.
        """
        self._check_idle("switch")
        new_variant, new_checkpoint = variant or self.variant, checkpoint or self.checkpoint
        _fit(new_variant, new_checkpoint)
        reload = new_checkpoint.fingerprint != self.checkpoint.fingerprint
        problem = switch_problem(self.checkpoint, new_checkpoint) if reload else None
        if problem:
            raise SwitchError(f"the engine runs '{self.checkpoint.path}' and cannot take '{new_checkpoint.path}': "
                              f"{problem}; start another engine for it")
        with self._watch.limit(self._limits.start, "switching the engine"):
            if reload:
                vllm_compat.rpc(self._engine, "mmrope_load_weights", str(new_checkpoint.served))
            vllm_compat.rpc(self._engine, "mmrope_set_variant", new_variant.to_dict(), new_checkpoint.rope_theta)
            vllm_compat.reset_caches(self._engine)
        self.variant, self.checkpoint = new_variant, new_checkpoint
        if policy is not None:
            self._policy = policy
        if reload:
            self._writer = PromptWriter(new_checkpoint)
        self._preparer = self._make_preparer()

    @property
    def capacity(self) -> int:
        """Requests that it makes use of at a time: those in a step, and as many prepared."""
        most = vllm_compat.most_at_once(self._engine)
        return most + (self._options.lookahead or most)

    def stream(self, requests: Iterable[Request | Deferred],
               interrupt: Callable[[], None] | None = None) -> Generator[Response | Failure, None, None]:
        """Answer requests in any order, each as soon as it is finished.

        Requests are pulled from a thread of the engine's own, at most `lookahead` of them before the engine takes
        them. A request that fails becomes a `Failure` and the stream goes on. An exception of the iterable is raised
        after the answers to what came before it. Closing the iterator drops what is unfinished; the engine stays
        usable. `interrupt` is called when no more is pulled, for an iterable that may be waiting just then.
        """
        self._check_idle("stream")
        self._streaming = True
        try:
            with RequestQueue(
                requests,
                self._preparer.begin if self._late else self._preparer.prepare,
                ahead=self._options.lookahead or vllm_compat.most_at_once(self._engine),
                max_bytes=self._options.lookahead_bytes,
                threads=self._options.preparers or min(8, max(1, process.usable_cores() // 2)),
            ) as queue, ExitStack() as ending:
                if interrupt is not None:
                    ending.callback(interrupt)
                with EngineRun(self._engine, queue, self._watch, self._limits, self._preparer.finish) as run:
                    yield from run.results()
        finally:
            self._streaming = False

    def _check_idle(self, what: str) -> None:
        if self._engine is None:
            raise RuntimeError(f"cannot {what}: the engine is closed")
        if self._streaming:
            raise RuntimeError(f"cannot {what} while a stream is open: read it to its end or close it")

    def _make_preparer(self) -> Preparer:
        return Preparer(self._engine, self._shape, self.checkpoint, self._writer, self.variant, self._options,
                        self._policy, self._reuse)


def start_inside(checkpoint: Checkpoint, variant: Variant, options: EngineOptions, driver: Driver) -> LiveEngine:
    """The backend: an engine for this process alone."""
    return LiveEngine.start(checkpoint, variant, options)


def _fit(variant: Variant, checkpoint: Checkpoint) -> None:
    variant.table(checkpoint.head_dim, checkpoint.num_kv_heads, checkpoint.rope_theta, rotary_dim=checkpoint.rotary_dim)


def _start_watched(arguments: Mapping[str, Any], variables: Mapping[str, str], limits: Limits, workers: bool,
                   resources: ExitStack) -> tuple[Watch, Any]:
    """A watch, and the engine that it watches from its start on; `resources` ends the watch, and stray processes.

    Raises `EngineDiedError` where it was killed from outside, `EngineStartError` where it took too long or failed.
    """
    options = limits.options
    stuck = partial(_leave, options) if options.may_leave and not workers else None
    starting = StartingProcesses() if workers else None
    watch = resources.enter_context(Watch(starting, stuck))
    log_size = options.log.stat().st_size if options.log is not None and options.log.exists() else 0

    def look_after(engine: Any) -> None:
        if starting is not None:
            watch.workers = WorkerProcesses(engine, options.log, log_size)
            resources.callback(watch.workers.kill)

    try:
        with watch.limit(limits.start, "the start of the engine"), process.interruptible():
            engine = vllm_compat.start_engine(arguments, variables, look_after)
    except EngineDiedError as error:
        if watch.overdue or last_words(options.log, log_size):  # it would again
            raise EngineStartError(str(error)) from error
        raise EngineDiedError(f"{error} while it was started", ()) from error
    except RuntimeError as error:  # of an engine in workers, vLLM says only that it did not start
        if starting is None or options.log is None:
            raise
        if words := last_words(options.log, log_size):
            raise EngineStartError(words) from error
        raise EngineDiedError(f"{lost(error)} while it was started", ()) from error
    return watch, engine


def _leave(options: EngineOptions, what: str) -> None:
    process.leave(f"the engine is stuck: {what} (--request-timeout, --start-timeout). What was answered is kept, and "
                  "the same command goes on; with --workers a stuck engine is ended and another one "
                  "started.", options.log)  # fmt: skip
