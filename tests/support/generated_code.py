"""The code that Inductor generates, without running it: C++ for CPU, or the Triton kernels of a GPU's scheduler."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch


class _GeneratedError(Exception):
    """Ends a compilation once its code is there."""


def generated(function: Callable[..., Any], *arguments: torch.Tensor, triton: bool) -> str:
    """The module that Inductor writes for `function` on these arguments.

    With `triton`, CPU tensors go through the scheduler and the Triton backend of a GPU. One choice of the lowering that
    asks for the device besides, how a concatenation is written, is made as for a GPU.
    """
    from torch._inductor import config
    from torch._inductor.graph import GraphLowering

    code: list[str] = []

    def stop(graph: Any) -> None:
        code.append(graph.codegen()[0].value)
        raise _GeneratedError

    torch.compiler.reset()
    as_gpu: dict[str, Any] = {"cpu_backend": "triton", "force_pointwise_cat": True} if triton else {}
    with (
        torch.no_grad(),
        config.patch(force_disable_caches=True, **as_gpu),
        mock.patch.object(GraphLowering, "compile_to_module", stop),
        _some_triton_driver() if triton else contextlib.nullcontext(),
        contextlib.suppress(torch._inductor.exc.InductorError),
    ):
        torch.compile(function, fullgraph=True)(*arguments)
    torch.compiler.reset()
    assert len(code) == 1, "one graph makes one module"
    return code[0]


@contextlib.contextmanager
def _some_triton_driver() -> Iterator[None]:
    """Inductor writes the name of Triton's device into its code; where there is none, that of an H100."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    if torch.cuda.is_available():
        yield
        return
    driver.set_active(SimpleNamespace(get_current_target=lambda: GPUTarget("cuda", 90, 32)))
    try:
        yield
    finally:
        driver.set_active(None)
