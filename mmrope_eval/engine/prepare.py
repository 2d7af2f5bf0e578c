"""Everything that happens to a request before the engine sees it: media, prompt, processor, positions.

Prepared prompts are kept for whoever asks the same again, other variants and checkpoints over the same data
(`RenderedPrompts`). What a processor makes of pictures, videos and text does not depend on positions or weights, so it
is kept, in memory, from one row to the next. The first that fit are kept and nothing is thrown out for others: a row
asks everything once, in the same order as the row before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

from mmrope_eval.engine import vllm_compat, vllm_model
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.positions import prompt_key, prompt_positions
from mmrope_eval.engine.prompt import PromptError, PromptWriter, thought_open
from mmrope_eval.errors import full_trace, sentence
from mmrope_eval.media.image import LoadedImage, LoadedVideo, MediaCache, fingerprint, load_image, load_video
from mmrope_eval.media.policy import MediaError, MediaPolicy
from mmrope_eval.messages import Failure, ImageSource, MediaFacts, PositionFacts, Request, VideoSource
from mmrope_eval.models.checkpoint import Checkpoint
from mmrope_eval.rope import LayoutError, Variant
from mmrope_eval.rope.encoding import EncodingError, PositionCodec

SHARE: Final = 8
"""The part of the memory that is free when an engine starts: one in so many."""

MOST: Final = 16 * 2**30
"""Bytes, however much is free."""


@dataclass(frozen=True)
class Rendered:
    """What vLLM's renderer made of a prompt, and what was done to its media."""

    engine_input: Any
    media: tuple[MediaFacts, ...]
    nbytes: int
    """Of the media's tensors."""
    thought_open: bool = False
    """As in `Response`."""


class RenderedPrompts:
    """A bounded memory of rendered prompts; safe for concurrent use. With `max_bytes` of 0 it keeps nothing."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: dict[Hashable, Rendered] = {}
        self._held = 0

    def get(self, key: Hashable) -> Rendered | None:
        """What was made of the same before; the caller must not change it."""
        return self._kept.get(key)

    def put(self, key: Hashable, made: Rendered) -> None:
        """Keep it, if there is room."""
        with self._lock:
            if key not in self._kept and self._held + made.nbytes <= self._max_bytes:
                self._kept[key] = made
                self._held += made.nbytes


def room(engines: int, free: int | None) -> int:
    """Bytes for one of so many engines that share a machine with so many bytes of free memory; None: nobody knows."""
    return min(MOST, (free or 0) // (SHARE * engines))


def copied(value: Any) -> Any:
    """An engine input, or a part of it, of its own over the same tensors: the engine adds to what it is given."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, list) else value


SMALL = 2**18
"""Bytes of decoded media, about 300x300 pixels, up to which a processor's work is mostly Python."""

Stage = Literal["media", "prompt", "positions", "engine"]


@dataclass(frozen=True)
class Prepared:
    """A request ready for the engine, with what its response will be checked against."""

    request: Request
    engine_input: Any = field(repr=False)
    params: Any = field(repr=False)
    prompt_token_ids: tuple[int, ...] = field(repr=False)
    media: tuple[MediaFacts, ...]
    key: str
    positions: PositionFacts
    nbytes: int
    thought_open: bool = False
    """As in `Response`."""


@dataclass(frozen=True)
class Loaded:
    """A request whose media are decoded, on its way to the processor; or one that was there before."""

    request: Request
    key: Hashable
    """Of all that the processor's result depends on."""
    media: tuple[LoadedImage | LoadedVideo, ...] = field(repr=False)
    rendered: Rendered | None = field(repr=False)
    nbytes: int


class RefusedError(Exception):
    """A request that ends before the engine sees it: where, and why in one sentence."""

    def __init__(self, stage: Stage, cause: str, trace: str = "") -> None:
        super().__init__(cause)
        self.stage, self.cause, self.trace = stage, cause, trace


class Preparer:
    """Prepares requests for one engine under one variant and checkpoint; safe for concurrent use."""

    def __init__(self, engine: Any, shape: vllm_model.ModelShape, checkpoint: Checkpoint, writer: PromptWriter,
                 variant: Variant, options: EngineOptions, policy: MediaPolicy, reuse: RenderedPrompts) -> None:
        self._engine, self._shape, self._checkpoint, self._variant = engine, shape, checkpoint, variant
        self._options, self._writer, self._policy, self._reuse = options, writer, policy, reuse
        self._max_model_len = int(engine.vllm_config.model_config.max_model_len)
        self._codec = PositionCodec(shape.position_bits)
        self._cache = MediaCache(options.media_cache_dir) if options.media_cache_dir else None
        self._eos = list(checkpoint.eos_ids)
        # Tokenizers and processors keep state; decoding media, the larger part, runs outside this lock.
        self._lock = threading.Lock()

    def prepare(self, request: Request) -> Prepared | Failure:
        """A request ready for the engine, or why it is not. Never raises for what a sample can cause."""
        loaded = self.load(request)
        return loaded if isinstance(loaded, Failure) else self.finish(loaded)

    def begin(self, request: Request) -> Prepared | Loaded | Failure:
        """`prepare`, but for what has small media, of which decoding alone is worth a thread: only `load`."""
        loaded = self.load(request)
        if isinstance(loaded, Failure) or loaded.rendered is not None or loaded.nbytes <= SMALL:
            return loaded
        return self.finish(loaded)

    def load(self, request: Request) -> Loaded | Failure:
        """The first half of `prepare`: read and decode media, mostly outside the interpreter's lock."""
        media: list[LoadedImage | LoadedVideo] = []
        try:
            return self._loaded(request, media)
        except RefusedError as error:
            return Failure(request.id, error.stage, error.cause, tuple(item.facts for item in media), error.trace)

    def finish(self, loaded: Loaded) -> Prepared | Failure:
        """The second half: template, processor and positions, mostly Python."""
        request = loaded.request
        try:
            with self._lock:
                rendered = loaded.rendered or self._guard("prompt", lambda: self._render(request, loaded.media))
                params = self._guard("prompt", lambda: self._params(request))
            self._reuse.put(loaded.key, rendered)
            prepared: Prepared = self._guard("positions", lambda: self._located(request, rendered, params))
            return prepared
        except RefusedError as error:
            facts = loaded.rendered.media if loaded.rendered else tuple(item.facts for item in loaded.media)
            return Failure(request.id, error.stage, error.cause, facts, error.trace)

    def _loaded(self, request: Request, media: list[LoadedImage | LoadedVideo]) -> Loaded:
        """`media` gets what is loaded, also where the next one fails."""
        sources = [part for part in request.content if not isinstance(part, str)]
        names = [self._guard("media", partial(fingerprint, item, self._policy, self._checkpoint.geometry))
                 for item in sources]  # fmt: skip
        texts = [part if isinstance(part, str) else None for part in request.content]
        key = (*texts, *names, request.system, request.enable_thinking, self._policy, self._checkpoint.template.text)
        rendered = self._reuse.get(key)
        if rendered is not None:
            return Loaded(request, key, (), rendered, rendered.nbytes)
        media.extend(self._guard("media", partial(self._load, source)) for source in sources)
        return Loaded(request, key, tuple(media), None, sum(item.nbytes for item in media))

    def _located(self, request: Request, rendered: Rendered, params: Any) -> Prepared:
        """What the renderer made of a request, with its positions. All that reads a processor's output is in here or in
        `_render`: whatever it finds there, one request fails."""
        engine_input = copied(rendered.engine_input)
        token_ids = tuple(engine_input["prompt_token_ids"])
        most = request.generation.max_tokens
        if len(token_ids) + most > self._max_model_len:
            raise RefusedError(
                "prompt",
                f"its prompt of {len(token_ids)} tokens and {most} to generate exceed the "
                f"context of {self._max_model_len} (max_model_len)",
            )
        spans = vllm_compat.input_spans(engine_input, self._shape)
        return Prepared(
            request=request,
            engine_input=engine_input,
            params=params,
            prompt_token_ids=token_ids,
            media=rendered.media,
            key=prompt_key(token_ids, spans),
            positions=prompt_positions(self._variant, token_ids, spans, self._codec, most).facts,
            nbytes=rendered.nbytes,
            thought_open=rendered.thought_open,
        )

    def _guard(self, stage: Stage, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (MediaError, PromptError) as error:
            raise RefusedError(stage, str(error)) from error
        except (EncodingError, LayoutError) as error:
            raise RefusedError("positions", str(error)) from error
        except RefusedError:
            raise
        # Libraries raise anything at bad input: SystemExit, failed assertions, panics of native code.
        except BaseException as error:
            raise RefusedError(stage, sentence(error), full_trace(error)) from error

    def _load(self, part: ImageSource | VideoSource) -> LoadedImage | LoadedVideo:
        if isinstance(part, ImageSource):
            return load_image(part, self._policy, self._checkpoint.geometry)
        return load_video(part, self._policy, self._checkpoint.geometry, self._cache)

    def _render(self, request: Request, loaded: Sequence[LoadedImage | LoadedVideo]) -> Rendered:
        text, token_ids = self._writer.write(request)
        tokens = len(token_ids) + sum(m.facts.tokens - 1 for m in loaded)
        if tokens >= self._max_model_len:
            raise PromptError(f"its prompt of {tokens} tokens fills the context of {self._max_model_len} "
                              "(max_model_len): raise it, or allow fewer pixels, frames or video tokens")
        from PIL import Image

        media: dict[str, list[Any]] = {}
        names: dict[str, list[str]] = {}
        timed = self._checkpoint.family.video.timed
        for item in loaded:
            if isinstance(item, LoadedImage):
                media.setdefault("image", []).append(Image.fromarray(item.pixels))
            else:
                # vLLM reads the mapping but may extend the list of indices: each request gets its own.
                metadata = {**item.metadata, "frames_indices": list(item.metadata["frames_indices"])}
                media.setdefault("video", []).append((item.frames, metadata))
            seconds = item.facts.seconds_per_grid if timed and isinstance(item, LoadedVideo) else None
            names.setdefault(item.facts.kind, []).append(vllm_model.media_identifier(item.facts.fingerprint, seconds))
        engine_input = vllm_compat.render(self._engine, token_ids, media, names)
        facts = tuple(item.facts for item in loaded)
        self._check_grids(engine_input, facts)
        return Rendered(engine_input, facts, vllm_compat.media_bytes(engine_input), thought_open(text, request))

    def _check_grids(self, engine_input: Any, facts: Sequence[MediaFacts]) -> None:
        """The processor must have taken every item as it was loaded."""
        grids = {kind: iter(made) for kind, made in vllm_compat.media_grids(engine_input).items()}
        for item in facts:
            made = next(grids.get(item.kind, iter(())), None)
            if made != item.grid_thw:
                raise RefusedError("prompt", f"the processor made a grid of {made} where {item.grid_thw} was loaded")

    def _params(self, request: Request) -> Any:
        generation = request.generation
        # The chosen token's own, always: by it logits that are not finite are seen (see `EngineRun`).
        scores = {"logprobs": 0, "prompt_logprobs": 0 if generation.logprobs else None}
        return vllm_compat.sampling_params(
            max_tokens=generation.max_tokens,
            temperature=generation.temperature,
            seed=generation.seed if generation.temperature else None,
            stop=list(generation.stop) or None,
            stop_token_ids=None if generation.ignore_eos else self._eos,
            ignore_eos=generation.ignore_eos,
            **scores,
        )
