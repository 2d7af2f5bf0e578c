"""The loop between prepared requests and a stepping engine.

Requests are prepared in the background, a bounded distance ahead of the engine (`RequestQueue`).
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Self

from mmrope_eval.engine import vllm_compat
from mmrope_eval.engine.prepare import Loaded, Prepared
from mmrope_eval.engine.ranks import agreed
from mmrope_eval.engine.watch import Limits, Watch
from mmrope_eval.errors import full_trace, sentence
from mmrope_eval.messages import Deferred, EngineDiedError, Failure, PositionFacts, Request, Response, no_answer


class RequestQueue:
    """Pulls requests one at a time, prepares them in threads, hands them over as they get ready.

    At most `ahead` requests are pulled and not yet taken, and none is pulled while the requests that were prepared and
    not released hold `max_bytes` or more. An exception of the iterable ends it; `take` with `wait` raises it after the
    rest.
    """

    def __init__(self, requests: Iterable[Request | Deferred],
                 prepare: Callable[[Request], Prepared | Loaded | Failure], *, ahead: int, max_bytes: int,
                 threads: int) -> None:
        self._source = iter(requests)
        self._prepare = prepare
        self._ahead, self._max_bytes = ahead, max_bytes
        self._changed = threading.Condition()
        self._pulling = threading.Lock()
        self._ready: deque[Prepared | Loaded | Failure] = deque()
        self._working = 0
        self._held = 0
        self._exhausted = False
        self._stopped = False
        self._error: BaseException | None = None
        self._threads = [threading.Thread(target=self._work, name=f"prepare-{i}", daemon=True) for i in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop pulling and wait for the items in hand."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def take(self, *, wait: bool) -> Prepared | Loaded | Failure | None:
        """The next item; None when none is ready, or with `wait` when there will be none."""
        with self._changed:
            while wait and not self._ready and not self._done():
                self._changed.wait()
            if self._ready:
                item = self._ready.popleft()
                self._changed.notify_all()
                return item
            if wait and self._error is not None:
                error, self._error = self._error, None
                raise error
            return None

    def release(self, item: Prepared | Loaded) -> None:
        """Stop counting the memory of an item that the engine is done with."""
        with self._changed:
            self._held -= item.nbytes
            self._changed.notify_all()

    def became(self, item: Loaded, prepared: Prepared) -> None:
        """Count the memory that an item holds now that it is prepared."""
        with self._changed:
            self._held += prepared.nbytes - item.nbytes

    @property
    def finished(self) -> bool:
        """Whether nothing is ready and nothing will be."""
        with self._changed:
            return not self._ready and self._done() and self._error is None

    def _done(self) -> bool:
        return self._exhausted and self._working == 0

    def _work(self) -> None:
        while self._reserve():
            request = self._pull()
            item = None
            try:
                if request is not None:
                    item = request if isinstance(request, Failure) else self._prepare(request)
            except BaseException as error:  # noqa: BLE001 - raised again where the results are read
                self._error, self._exhausted = error, True
            with self._changed:
                self._working -= 1
                if item is not None:
                    self._ready.append(item)
                    self._held += 0 if isinstance(item, Failure) else item.nbytes
                self._changed.notify_all()

    def _reserve(self) -> bool:
        """Wait for room for one more request; False when there is nothing more to do."""
        with self._changed:
            while not (self._stopped or self._exhausted):
                if self._working + len(self._ready) < self._ahead and self._held < self._max_bytes:
                    self._working += 1
                    return True
                self._changed.wait()
            return False

    def _pull(self) -> Request | Failure | None:
        """The next request, made: one at a time, as a data set may not be read from several threads."""
        with self._pulling:
            if self._exhausted or self._stopped:
                return None
            try:
                return next(self._source).made()
            except StopIteration:
                pass
            except BaseException as error:  # noqa: BLE001 - raised again where the results are read
                self._error = error
            self._exhausted = True
            return None


class EngineRun:
    """Feeds one stream's requests to the engine, steps it, and turns what it puts out into responses."""

    def __init__(self, engine: Any, queue: RequestQueue, watch: Watch, limits: Limits,
                 finish: Callable[[Loaded], Prepared | Failure]) -> None:
        """`finish` prepares what the queue has only loaded."""
        self._engine, self._queue, self._watch, self._limits = engine, queue, watch, limits
        self._finish = finish
        self._capacity = vllm_compat.most_at_once(engine)
        self._step_tokens = int(engine.vllm_config.scheduler_config.max_num_batched_tokens)
        self._running: dict[str, Prepared] = {}
        self._until: dict[str, float] = {}
        """When each of them is overdue, on the watch's clock."""
        self._used: dict[str, PositionFacts] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Drop what is still running."""
        if not isinstance(error, EngineDiedError):
            with suppress(Exception):  # an engine that died in this moment is found out when it is asked again
                self._abort(list(self._running))

    def results(self) -> Iterator[Response | Failure]:
        """Every request's outcome, as it becomes known. Raises `EngineDiedError`, with what was in flight."""
        try:
            yield from self._results()
        except EngineDiedError as error:
            if error.in_flight is not None:
                raise
            raise EngineDiedError(str(error), [item.request.id for item in self._running.values()]) from error

    def _results(self) -> Iterator[Response | Failure]:
        while True:
            while len(self._running) < self._capacity:
                item = self._taken()
                if item is None:
                    break
                if isinstance(item, Failure):
                    yield item
                    continue
                refused = self._submit(item)
                if refused is not None:
                    yield refused
            if self._running:
                yield from self._step()
                yield from self._overdue()
            elif self._queue.finished:
                return

    def _taken(self) -> Prepared | Failure | None:
        item = self._queue.take(wait=not self._running)
        if not isinstance(item, Loaded):
            return item
        prepared = self._finish(item)
        if isinstance(prepared, Failure):
            self._queue.release(item)
        else:
            self._queue.became(item, prepared)
        return prepared

    def _submit(self, item: Prepared) -> Failure | None:
        self._count += 1
        name = f"{self._count}-{item.key[:12]}"
        try:
            with self._watch.limit(self._silence(), "taking a request"):
                vllm_compat.add_request(self._engine, name, item.engine_input, item.params)
        except EngineDiedError:
            raise
        except Exception as error:  # noqa: BLE001 - vLLM refuses requests in many ways
            self._queue.release(item)
            return Failure(item.request.id, "prompt", sentence(error), item.media, full_trace(error))
        self._running[name] = item
        self._until[name] = self._watch.now + self._allowed(item)
        return None

    def _step(self) -> Iterator[Response | Failure]:
        try:
            with self._watch.limit(self._silence(), "an answer"):
                outputs = self._engine.step()
        except EngineDiedError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the model raised
            yield from self._isolate(error)
            return
        for output in outputs:
            if output.finished and output.request_id in self._running:
                outcome = self._outcome(self._running[output.request_id], output)
                self._forget(output.request_id)
                yield outcome

    def _overdue(self) -> Iterator[Failure]:
        """Give up requests that had their time while the engine answered others."""
        late = [name for name, until in self._until.items() if self._watch.now > until]
        for name in late:
            item = self._running[name]
            cause = f"it has no answer after {self._allowed(item):.0f} s (--request-timeout)"
            self._abort([name])
            yield Failure(item.request.id, "engine", cause, item.media)

    def _allowed(self, item: Prepared) -> float:
        """Seconds for one request, with what runs beside it."""
        return self._limits.request(self._in_flight(), item.request.generation.max_tokens)

    def _silence(self) -> float:
        """Seconds for the engine to give out anything, with what runs in it."""
        longest = max((len(item.prompt_token_ids) for item in self._running.values()), default=0)
        return self._limits.silence(max(longest, min(self._in_flight(), self._step_tokens)))

    def _in_flight(self) -> int:
        """Tokens of all prompts in the engine."""
        return sum(len(item.prompt_token_ids) for item in self._running.values())

    def _outcome(self, item: Prepared, output: Any) -> Response | Failure:
        completion = output.outputs[0]
        if completion.finish_reason not in ("stop", "length"):
            return Failure(item.request.id, "engine", f"vLLM ended it with '{completion.finish_reason}'", item.media)
        used = self._positions_used(item)
        if used != item.positions:
            return Failure(item.request.id, "positions", f"the engine used positions {used}, not {item.positions}",
                           item.media)
        asked = item.request.generation.logprobs
        token_ids = tuple(completion.token_ids)
        logprobs = _chosen(completion.logprobs, token_ids)
        problem = _problem(item.request, completion, token_ids, logprobs)
        if problem is not None:
            return Failure(item.request.id, "engine", problem, item.media)
        return Response(
            id=item.request.id,
            text=completion.text,
            token_ids=token_ids,
            finish_reason=completion.finish_reason,
            prompt_tokens=len(item.prompt_token_ids),
            media=item.media,
            positions=used,
            prompt_token_ids=item.prompt_token_ids,
            prompt_logprobs=_chosen(output.prompt_logprobs[1:], item.prompt_token_ids[1:]) if asked else None,
            logprobs=logprobs if asked else None,
            thought_open=item.thought_open,
        )

    def _positions_used(self, item: Prepared) -> PositionFacts | None:
        """What all ranks say they used for this prompt; their records are fetched only when one is missing."""
        if item.key not in self._used:
            with self._watch.limit(self._silence(), "reading positions"):
                records = vllm_compat.rpc_each(self._engine, "mmrope_drain_positions")
            for key, fingerprint, max_position, delta in agreed(records):
                self._used[key] = PositionFacts(fingerprint, max_position, delta)
        facts = self._used.get(item.key)
        # Equal prompts share a record: it goes when the last of them is done, or was overtaken by a new one.
        if not any(other.key == item.key for other in self._running.values() if other is not item):
            self._used.pop(item.key, None)
        return facts

    def _isolate(self, error: Exception) -> Iterator[Response | Failure]:
        """A step failed: find out which request did it by running those that were in the engine one at a time."""
        suspects = list(self._running.values())
        in_flight = [item.request.id for item in suspects]
        try:
            with self._watch.limit(self._silence(), "recovering from an error"):
                self._abort(list(self._running))
                self._engine.step()
                # The scheduler counts as cached what the step was going to compute.
                vllm_compat.reset_caches(self._engine)
        except Exception as second:
            raise EngineDiedError(f"vLLM stopped working: {sentence(error)}", in_flight) from second
        if len(suspects) == 1:
            yield Failure(in_flight[0], "engine", sentence(error), suspects[0].media, full_trace(error))
            return
        for item in suspects:
            refused = self._submit(item)
            if refused is not None:
                yield refused
            while self._running:
                yield from self._step()

    def _abort(self, names: list[str]) -> None:
        if names:
            self._engine.abort_request(names)
        for name in names:
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._until.pop(name, None)
        self._queue.release(self._running.pop(name))


def _problem(request: Request, completion: Any, token_ids: Sequence[int], logprobs: Sequence[float]) -> str | None:
    """Why what was generated is no answer, in one sentence; None for an answer.

    A network that computes nan or infinity still gives a token each step, by default the first of the vocabulary. Who
    asks for tokens whatever they are (`ignore_eos`) gets them.
    """
    broken = next((place for place, value in enumerate(logprobs) if not math.isfinite(value)), None)
    if broken is not None:
        return (f"the model's logits are not finite (nan or infinity) at generated token {broken + 1}: its weights "
                "diverged, or half precision overflows (try --dtype bfloat16 or float32)")  # fmt: skip
    return None if request.generation.ignore_eos else no_answer(token_ids, completion.finish_reason)


def _chosen(steps: Any, token_ids: tuple[int, ...]) -> tuple[float, ...]:
    """The log-probability of each token among those that vLLM lists for its step."""
    return tuple(float(step[token].logprob) for step, token in zip(steps, token_ids, strict=True))
