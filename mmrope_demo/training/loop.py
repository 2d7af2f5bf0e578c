"""The training loop: one step, all steps, and an exact way back after an interruption."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmrope_demo.training.packing import Packed, Row, epoch, pack
from mmrope_demo.training.recipe import Schedule
from mmrope_eval.util.files import whole

if TYPE_CHECKING:
    import torch

    from mmrope_eval.reference import ReferenceModel

SAVE_EVERY = 60.0
"""Seconds between two saved states."""
LOG_EVERY = 25
LAYER = r"\.(layers|blocks)\."
"""In the names of parameters that belong to a decoder's or an encoder's layer."""
SHORT = 0.2
"""Weight of the token that ends an answer: it is easy, and half of all answer tokens."""


@dataclass(frozen=True)
class Course:
    """What is taught, in which order: pictures alone, then by turns with clips; of both, first lessons first."""

    first: Mapping[bool, Sequence[Row]]
    """Rows of the first lessons, of pictures and of clips."""
    rows: Mapping[bool, Sequence[Row]]
    """Those of all others."""
    beginning: int
    """Batches of first lessons, of pictures and of clips."""
    alone: int
    """Steps that show pictures only, at the beginning."""
    pattern: Sequence[bool]
    """Which batches show clips, repeated."""
    tokens: int
    seed: int

    def batches(self, first: int) -> Iterator[tuple[bool, Packed]]:
        """The batches of steps `first`, `first + 1` ... without end; each step's is always the same."""
        streams = {video: self._stream(video) for video in (False, *self.pattern)}
        for step in count():
            video = step >= self.alone and self.pattern[step % len(self.pattern)]
            chosen = next(streams[video])
            if step >= first:
                yield video, pack(chosen, self.tokens)

    def _stream(self, video: bool) -> Iterator[list[Row]]:
        yield from islice(self._endless(self.first[video], (int(video), 1)), self.beginning)
        yield from self._endless(self.rows[video], (int(video), 0))

    def _endless(self, rows: Sequence[Row], tag: tuple[int, int]) -> Iterator[list[Row]]:
        for number in count():
            for batch in epoch(rows, self.tokens, (self.seed, number, *tag)):
                yield [rows[i] for i in batch]


def soft_targets(size: int, scales: Sequence[Sequence[int]], sigma: float) -> torch.Tensor:
    """(vocabulary, vocabulary): for a token on a scale, a normal distribution over its neighbours; else itself."""
    import torch

    table = torch.eye(size)
    for scale in scales:
        at = torch.arange(len(scale), dtype=torch.float32)
        weights = torch.exp(-0.5 * ((at[:, None] - at[None, :]) / sigma) ** 2)
        index = torch.tensor(scale)
        table[index] = 0.0
        table[index[:, None], index[None, :]] = weights / weights.sum(1, keepdim=True)
    return table


def through(decoder: Any, hidden: torch.Tensor, rotation: Any, mask: torch.Tensor) -> torch.Tensor:
    """(b, n, hidden) after all layers and the last norm; `mask` is added to the scores."""
    for layer in decoder.layers:
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotation)
    normed: torch.Tensor = decoder.norm(hidden)
    return normed


class Learner:
    """A reference model that learns from packed batches."""

    def __init__(self, reference: ReferenceModel, soft: torch.Tensor, end: int, *, compiled: bool = False) -> None:
        """`compiled` fuses the layers' operations by torch.compile, once for every shape of batches."""
        import torch

        self._reference, self._soft, self._end = reference, soft.to(reference.model.device), end
        self._through: Any = through
        if compiled:
            torch.compiler.reset()  # what was compiled for another model does not serve this one
            self._through = torch.compile(through, dynamic=False)

    def decode(self, embeddings: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(b, n, hidden): what the stock forward computes, without what it does around its layers.

        `mask` is bool (b, 1, n, n), `positions` (3, b, n).
        """
        import torch

        decoder = self._reference.model.model.language_model
        added = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, float("-inf"))
        hidden: torch.Tensor = self._through(decoder, embeddings, decoder.rotary_emb(embeddings, positions), added)
        return hidden

    def loss(self, batch: Packed, seen: torch.Tensor, positions: npt.NDArray[np.float64], *,
             video: bool) -> torch.Tensor:  # fmt: skip
        """Mean cross entropy over answer tokens, soft where they lie on a scale.

        `seen` holds the embeddings of all vision tokens, (tokens, hidden); `positions` is (3, b, n).
        """
        import torch

        model = self._reference.model
        tokens, places, mask, labels, on_scale = (
            torch.from_numpy(array).to(model.device)
            for array in (batch.tokens, positions, batch.mask, batch.labels, batch.scaled)
        )
        shown = tokens == (model.config.video_token_id if video else model.config.image_token_id)
        embeddings = model.model.language_model.embed_tokens(tokens)
        embeddings = embeddings.masked_scatter(shown[..., None], seen.to(embeddings.dtype))
        hidden = self.decode(embeddings, places, mask)
        learnt = labels >= 0
        logprobs = model.lm_head(hidden[learnt]).float().log_softmax(-1)
        wanted, scaled = labels[learnt], on_scale[learnt]
        losses = -logprobs.gather(1, wanted[:, None])[:, 0]
        losses = losses.masked_scatter(scaled, -(self._soft[wanted[scaled]] * logprobs[scaled]).sum(1))
        weights = torch.where(wanted == self._end, SHORT, 1.0)
        mean: torch.Tensor = (losses * weights).sum() / weights.sum()
        return mean


def drill(
    model: torch.nn.Module,
    parameters: Sequence[torch.nn.Parameter],
    losses_from: Callable[[int], Iterator[torch.Tensor]],
    schedule: Schedule,
    folder: Path,
    stop: int | None = None,
) -> list[dict[str, Any]]:
    """Minimise the loss of every step from where `folder` says, and save there now and then; the log of all steps.

    `losses_from(step)` gives the loss of that step and those after it, each when it is asked for. It may depend on the
    step's number and the weights alone: then a training that was interrupted continues exactly. `stop` ends before that
    step, as an interruption would.
    """
    import torch

    optimizers = make_optimizers(model, parameters, schedule)
    rates = [optimizer.defaults["lr"] for optimizer in optimizers]
    first, log, spent = _restore(folder / "state.pt", model, optimizers)
    began = saved = time.perf_counter()
    losses: list[float] = []
    last = min(stop or schedule.steps, schedule.steps)
    for step, loss in zip(range(first, last), losses_from(first), strict=False):
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * schedule.share(step)
            optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % LOG_EVERY == 0 or step + 1 == last:
            seconds = spent + time.perf_counter() - began
            log.append({"step": step + 1, "loss": round(float(np.mean(losses)), 4), "seconds": round(seconds, 1)})
            losses = []
            if step + 1 == last or time.perf_counter() - saved > SAVE_EVERY:
                _save(folder / "state.pt", model, optimizers, step + 1, log)
                saved = time.perf_counter()
    return log


def make_optimizers(
    model: torch.nn.Module, parameters: Sequence[torch.nn.Parameter], schedule: Schedule
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of layers where the schedule asks for it, AdamW for everything else."""
    import torch

    from mmrope_demo.training.muon import Muon

    chosen = {id(parameter) for parameter in parameters}
    inner = [
        parameter
        for name, parameter in model.named_parameters()
        if schedule.matrix_rate and id(parameter) in chosen and parameter.ndim == 2 and re.search(LAYER, name)
    ]
    matrices = {id(parameter) for parameter in inner}
    others = [parameter for parameter in parameters if id(parameter) not in matrices]
    adam = torch.optim.AdamW(
        others, lr=schedule.learning_rate, betas=schedule.betas, weight_decay=schedule.weight_decay, fused=True
    )
    return [adam, Muon(inner, schedule.matrix_rate, schedule.matrix_decay)] if inner else [adam]


def _save(path: Path, model: Any, optimizers: Sequence[Any], step: int, log: list[dict[str, Any]]) -> None:
    import torch

    states = [optimizer.state_dict() for optimizer in optimizers]
    with whole(path) as draft:
        torch.save({"model": model.state_dict(), "optimizers": states, "step": step, "log": log}, draft)


def _restore(path: Path, model: Any, optimizers: Sequence[Any]) -> tuple[int, list[dict[str, Any]], float]:
    """(next step, log, seconds spent) of a saved state; nothing done where there is none."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        return 0, [], 0.0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    log = state["log"]
    return int(state["step"]), log, float(log[-1]["seconds"]) if log else 0.0
