"""The process around vLLM: what it reads from the environment, what it prints, the threads it computes with."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the time that vLLM reads them; child processes inherit them.

    Afterwards the environment is as it was: vLLM leaves a dozen variables of its own, LD_PRELOAD among them.
    """
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Only vLLM's errors, unless VLLM_LOGGING_LEVEL asks for more; child processes inherit it.

    vLLM warns of things that are meant here (eager mode, no Triton on CPU) and, on CPU, once for every prompt.
    """
    if "VLLM_LOGGING_LEVEL" in os.environ:
        yield
        return
    # Set before vLLM is imported, for what it says while it has not configured its logging yet.
    logging.getLogger("vllm").setLevel(logging.ERROR)
    values = {"VLLM_LOGGING_LEVEL": "ERROR", "TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore::FutureWarning"}
    with environment(values), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """This many compute threads for an engine in this process (None: as many as there are), then as before.

    vLLM's CPU worker replaces `torch.set_num_threads` by a function that only warns; it is given back too.
    """
    import torch

    set_threads, before = torch.set_num_threads, torch.get_num_threads()
    set_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads = set_threads
        set_threads(before)


@contextmanager
def no_dynamo() -> Iterator[None]:
    """torch.compile off in this process, where it was imported before its environment variable was set."""
    import torch._dynamo.config

    before = torch._dynamo.config.disable
    torch._dynamo.config.disable = True
    try:
        yield
    finally:
        torch._dynamo.config.disable = before
