"""A transformers model with a variant inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmrope_eval.errors import UserError
from mmrope_eval.media.image import LoadedImage, LoadedVideo, MediaPolicy, load_image, load_video
from mmrope_eval.messages import Generation, ImageSource, Part, Request, Response
from mmrope_eval.models.families import family_of_config
from mmrope_eval.models.family import VisionGeometry
from mmrope_eval.reference.modules import Attention, VariantAttention, VariantRotary, WideHead
from mmrope_eval.reference.prompts import MEDIA_TENSORS, Prompt, prepare
from mmrope_eval.reference.rounding import Rounding, round_as_vllm
from mmrope_eval.rope import Text, Variant
from mmrope_eval.words import flat


@dataclass(frozen=True)
class Batch:
    """Input of one forward pass over `b` sequences of `n` tokens, shorter ones padded on the right."""

    token_ids: Tensor
    """int64 (b, n)"""
    positions: Tensor
    """float64 (3, b, n) in the order t, h, w; zeros where padded."""
    attention_mask: Tensor | None = None
    """int64 (b, n) with 0 where padded; or bool (b, 1, n, n), True where a row may look, for packed sequences."""
    media: Mapping[str, Tensor] = field(default_factory=dict)
    """Media tensors as in `Prompt`, of all sequences in order."""


@dataclass(frozen=True)
class Score:
    """For tokens 1 to n-1 of a sequence, each given those before it."""

    logprobs: tuple[float, ...]
    """The token's own log-probability."""
    best: tuple[int, ...]
    """The most probable token at its place."""


class ReferenceModel:
    """A transformers model with one variant inside. `model` is the stock model object; train and save that."""

    def __init__(self, model: Any, variant: Variant, processor: Any = None) -> None:
        """Exchange the rotary and attention modules of `model`. Raises `VariantError` where the variant cannot fit."""
        text = model.config.get_text_config()
        self.model = model
        self.processor = processor
        self._num_kv_heads = text.num_key_value_heads
        self._head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        self._rope_theta = float(text.rope_parameters["rope_theta"])
        self._rotary_dim = int(self._head_dim * text.rope_parameters.get("partial_rotary_factor", 1.0))
        self.set_variant(variant)
        for index, layer in enumerate(model.model.language_model.layers):
            layer.self_attn = VariantAttention(layer.self_attn, index, self._head_dim, text._attn_implementation)

    def set_variant(self, variant: Variant) -> None:
        """Use another variant from now on; the weights stay. Raises `VariantError` where it does not fit."""
        table = variant.table(self._head_dim, self._num_kv_heads, self._rope_theta, rotary_dim=self._rotary_dim)
        self.variant = variant
        self.model.model.language_model.rotary_emb = VariantRotary(table)

    def prepare(self, content: Sequence[str | LoadedImage | LoadedVideo], system: str | None = None) -> Prompt:
        """Render one user turn with the checkpoint's chat template and tokenise it.

        Media are taken as they are: nothing is resized or sampled again.
        """
        if self.processor is None:
            raise UserError("this reference has no processor: load it from a checkpoint to prepare prompts")
        return prepare(self.processor, self.model.config, content, system)

    def prepare_request(self, request: Request, policy: MediaPolicy) -> Prompt:
        """`prepare` for a request to the engine, its media loaded under `policy`. Raises `MediaError`."""
        vision = self.model.config.vision_config
        geometry = VisionGeometry(patch_size=vision.patch_size, merge_size=vision.spatial_merge_size,
                                  temporal_patch_size=vision.temporal_patch_size)

        def loaded(part: Part) -> str | LoadedImage | LoadedVideo:
            if isinstance(part, str):
                return part
            if isinstance(part, ImageSource):
                return load_image(part, policy, geometry)
            return load_video(part, policy, geometry)

        return self.prepare([loaded(part) for part in request.content], request.system)

    def collate(self, prompts: Sequence[Prompt], continuations: Sequence[Sequence[int]] = ()) -> Batch:
        """One batch of prompts under the present variant, each followed by its continuation if there are any."""
        tails = list(continuations) or [()] * len(prompts)
        rows = [(*prompt.token_ids, *tail) for prompt, tail in zip(prompts, tails, strict=True)]
        longest = max(map(len, rows))
        token_ids = torch.zeros(len(rows), longest, dtype=torch.int64)
        mask = torch.zeros_like(token_ids)
        positions = torch.zeros(3, len(rows), longest, dtype=torch.float64)
        for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
            token_ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
            coordinates, _ = self.variant.positions([*prompt.segments, Text(len(row) - len(prompt.token_ids))])
            positions[:, i, : len(row)] = torch.from_numpy(coordinates)
        media = {
            name: torch.cat([prompt.media[name] for prompt in prompts if name in prompt.media])
            for name in MEDIA_TENSORS
            if any(name in prompt.media for prompt in prompts)
        }
        return Batch(token_ids, positions, None if bool(mask.all()) else mask, media)

    def forward(self, batch: Batch, cache: Any = None, *, logits_to_keep: int = 0) -> Tensor:
        """Logits (b, n, vocabulary) in the model's dtype, or of the last `logits_to_keep` tokens; with gradients.

        `cache` is a transformers KV cache that holds the tokens before these and receives these.
        """
        device = self.model.device
        mask = None if batch.attention_mask is None else batch.attention_mask.to(device)
        output = self.model(
            input_ids=batch.token_ids.to(device),
            position_ids=batch.positions.to(device),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=logits_to_keep,
            **{name: tensor.to(device) for name, tensor in batch.media.items()},
        )
        logits: Tensor = output.logits
        return logits

    @torch.no_grad()
    def score(self, prompt: Prompt, continuation: Sequence[int] = ()) -> Score:
        """Score every token of prompt and continuation but the first, in one pass without a cache.

        A continuation is what greedy decoding gives exactly when each of its tokens is the `best` at its place.
        """
        batch = self.collate([prompt], [continuation])
        logits = self.forward(batch)[0, :-1]
        return Score(_token_logprobs(logits, batch.token_ids[0, 1:]), tuple(logits.argmax(-1).tolist()))

    @torch.no_grad()
    def generate(self, prompt: Prompt, generation: Generation, request_id: str = "") -> Response:
        """Decode greedily with a KV cache; a stop token is part of `token_ids`, as in the engine."""
        if generation.temperature != 0:
            raise UserError(f"the reference decodes greedily: temperature must be 0, not {generation.temperature}")
        from transformers import DynamicCache

        logits = self.forward(batch := self.collate([prompt]), cache := DynamicCache(config=self.model.config))
        prompt_logprobs = _token_logprobs(logits[0, :-1], batch.token_ids[0, 1:]) if generation.logprobs else None
        generated, _ = self.variant.positions([*prompt.segments, Text(generation.max_tokens)])
        token_ids, logprobs, text, reason = [], [], "", "length"
        for step in range(generation.max_tokens):
            scores = logits[0, -1].float().log_softmax(-1)
            token = int(scores.argmax())
            token_ids.append(token)
            logprobs.append(float(scores[token]))
            if token in self.eos_ids and not generation.ignore_eos:
                reason = "stop"
                break
            if self.processor is not None:
                text = str(self.processor.tokenizer.decode(token_ids, skip_special_tokens=True))
            if ends := [text.index(stop) for stop in generation.stop if stop in text]:
                text, reason = text[: min(ends)], "stop"
                break
            if step + 1 < generation.max_tokens:
                position = torch.from_numpy(generated[:, None, len(prompt.token_ids) + step, None])
                logits = self.forward(Batch(torch.tensor([[token]]), position), cache)
        return Response(
            id=request_id,
            text=text,
            token_ids=tuple(token_ids),
            finish_reason=reason,
            prompt_tokens=len(prompt.token_ids),
            media=prompt.facts,
            prompt_token_ids=prompt.token_ids,
            prompt_logprobs=prompt_logprobs,
            logprobs=tuple(logprobs) if generation.logprobs else None,
        )

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        eos = self.model.generation_config.eos_token_id
        return () if eos is None else tuple(eos) if isinstance(eos, list) else (eos,)


def load_reference(checkpoint: Path | str, variant: Variant, *, dtype: torch.dtype = torch.float32,
                   attention: Attention = "sdpa", wide_head: bool = False,
                   rounding: Rounding = "transformers") -> ReferenceModel:
    """A local checkpoint (safetensors) with `variant` inside, in evaluation mode. Runs no code from the checkpoint.

    `wide_head` computes logits in float32 whatever `dtype` is, as the engine does with `head_dtype` float32; `rounding`
    says whose rounding half precision follows (see `rounding.py`).

    Raises `UserError` for a model of no known family, `VariantError` where the variant cannot fit.
    """
    import transformers

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(checkpoint, **options)
        model = _architecture(config).from_pretrained(checkpoint, dtype=dtype, attn_implementation=attention,
                                                      use_safetensors=True, local_files_only=True)
        processor = transformers.AutoProcessor.from_pretrained(checkpoint, **options)
    except OSError as error:
        raise UserError(f"checkpoint '{checkpoint}' cannot be loaded: {flat(error)}") from error
    if wide_head:
        model.lm_head = WideHead(model.lm_head)
    reference = ReferenceModel(model.eval(), variant, processor)
    if rounding == "vllm":
        round_as_vllm(model)
    return reference


def new_reference(config: Path | str | Any, variant: Variant, *, dtype: torch.dtype = torch.float32,
                  attention: Attention = "eager") -> ReferenceModel:
    """A randomly initialised model to train, from a transformers config object or a folder with a config.json.

    The initialisation is transformers' own, from torch's global random state; the model is in training mode.
    """
    import transformers

    processor = None
    if isinstance(config, Path | str):
        processor = transformers.AutoProcessor.from_pretrained(config, local_files_only=True)
        config = transformers.AutoConfig.from_pretrained(config, local_files_only=True)
    model = _architecture(config)._from_config(config, dtype=dtype, attn_implementation=attention)
    return ReferenceModel(model.train(), variant, processor)


def _architecture(config: Any) -> Any:
    import transformers

    return getattr(transformers, family_of_config(config).hf_class)


def _token_logprobs(logits: Tensor, token_ids: Tensor) -> tuple[float, ...]:
    logprobs = logits.float().log_softmax(-1)
    return tuple(logprobs.gather(1, token_ids.to(logits.device)[:, None])[:, 0].tolist())
