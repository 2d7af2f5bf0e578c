"""Why questions are asked that have kept answers: what of an answer's identity is not what it was."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from typing import Any

from mmrope_eval.run.execute import Cell, Work
from mmrope_eval.run.manifest import helpers, plain
from mmrope_eval.store.answer_code import AnswerCode, answer_code, what_changed
from mmrope_eval.store.store import ResponseStore
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.sample import Key, keys

PAGE = "docs/same-answer.md"
UNKNOWN = "an earlier version kept them, which did not record what they depend on"
OTHER_QUESTION = "the question, its media, its answer limit or its temperature changed"
NAMED: Mapping[str, str] = {
    "weights": "they are of other checkpoint files",
    "variant": "they are of another definition of the variant",
    "media": "this version prepares pictures and videos in another way",
    "store": "this version keeps answers in another way",
}
"""Parts of a context whose values say nothing to a reader."""


def described_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """What a store keeps to say later what its answers depend on."""
    return {"context": dict(context), "code": answer_code().record(), "helpers": helpers()}


def moved_helpers(cell: Cell, work: Work, store: ResponseStore) -> list[str]:
    """Sentences where answers are kept that were given with other versions of what decodes media and writes prompts."""
    kept = store.contexts_of({name: work.keys[name].identity for name in work.kept})
    contexts, now = store.contexts() if kept else {}, helpers()
    counts: collections.Counter[str] = collections.Counter()
    for key, n in kept.items():
        before = contexts.get(key, {}).get("helpers")
        moved = [f"{name} is {now.get(name)}, was {was}" for name, was in before.items() if was != now.get(name)
                 ] if isinstance(before, Mapping) else []  # fmt: skip
        if moved:
            counts[", and ".join(moved)] += n
    return [f"{cell.label}: {n} kept answer{'s' if n > 1 else ''} count{'' if n > 1 else 's'} although {why}; --fresh "
            f"asks again; see {PAGE}." for why, n in counts.most_common()]  # fmt: skip


def lost_answers(cell: Cell, plans: Mapping[str, TaskPlan], work: Work, store: ResponseStore,
                 manifest: Mapping[str, Any]) -> list[str]:
    """A sentence where the store lacks answers that an earlier command had when it wrote its scores. A sample with
    another kept outcome is none of these: `explanations` says why that one is not used."""
    missing = 0
    if plain(manifest.get("context")) == plain(cell.context):
        tasks = manifest.get("tasks")
        kept = {*work.kept, *(row[0] for row in store.others({name: key.identity for name, key in work.keys.items()}))}
        for name, plan in plans.items():
            entry = tasks.get(name) if isinstance(tasks, Mapping) else None
            lacking = sum(sample.id not in kept for sample in plan.samples)
            if lacking and isinstance(entry, Mapping) and entry.get("data_fingerprint") == plan.fingerprint():
                missing += lacking
    if not missing:
        return []
    answers, are = ("answer", "is") if missing == 1 else ("answers", "are")
    return [f"{cell.label}: {missing} {answers} that the scores were made of {are} not in responses.sqlite any more "
            "(it was removed, replaced or damaged): asked again."]  # fmt: skip


def explanations(cell: Cell, work: Work, store: ResponseStore, manifest: Mapping[str, Any]) -> list[str]:
    """One sentence for each reason, with the number of kept answers that it puts out of use. `manifest` is what an
    earlier run left, which stores of versions up to 0.3 need to be understood."""
    pending = {sample.id: work.keys[sample.id] for sample in work.pending if sample.id not in work.kept}
    if not pending:
        return []
    rows: dict[str, list[tuple[str, str | None, str | None]]] = collections.defaultdict(list)
    for sample, identity, question, context in store.others({name: key.identity for name, key in pending.items()}):
        rows[sample].append((identity, question, context))
    if not rows:
        return []
    code = answer_code()
    whys = {key: reasons(content, cell.context, code) for key, content in store.contexts().items()}
    earlier = manifest.get("context")
    before = earlier if isinstance(earlier, Mapping) else {}
    old_keys = keys((sample for sample in work.pending if sample.id in rows), before)
    why_old = reasons({"context": before}, cell.context, code)
    counts = collections.Counter(_why(pending[sample], kept, whys, old_keys[sample], why_old)
                                 for sample, kept in rows.items())  # fmt: skip
    return [f"{cell.label}: {n} kept answer{'s are' if n > 1 else ' is'} asked again, as {why}; see {PAGE}."
            for why, n in counts.most_common()]  # fmt: skip


def _why(key: Key, rows: Iterable[tuple[str, str | None, str | None]], reasons_of: Mapping[str, list[str]],
         old_key: Key, why_old: list[str]) -> str:
    """The reason that the nearest of a sample's kept outcomes gives. `old_key` and `why_old` are by the manifest, for
    outcomes that are kept without their context."""
    candidates: list[list[str]] = []
    for identity, question, context in rows:
        if question is None:  # kept by version 0.3 or older
            candidates.append(why_old if identity == old_key.identity else [UNKNOWN])
        elif question == key.question:
            candidates.append(reasons_of.get(context or "") or [UNKNOWN])
        else:
            candidates.append([OTHER_QUESTION])
    nearest: list[str] = min(candidates, key=_distance)
    return ", and ".join(nearest)


def _distance(reasons: list[str]) -> tuple[bool, bool, int, int]:
    return reasons == [UNKNOWN], reasons == [OTHER_QUESTION], len(reasons), len("".join(reasons))


def reasons(before: Mapping[str, Any], context: Mapping[str, Any], code: AnswerCode) -> list[str]:
    """In what a recorded context differs from another one, in words; empty where it does not."""
    old = before.get("context")
    if not isinstance(old, Mapping):
        return [UNKNOWN]
    differences = []
    for name in dict.fromkeys([*context, *old]):
        was, value = old.get(name), context.get(name)
        if plain(was) == plain(value):
            continue
        if name == "versions" and isinstance(was, Mapping) and isinstance(value, Mapping):
            differences += _versions(was, value, before.get("code"), code)
        elif isinstance(was, Mapping) and isinstance(value, Mapping):
            differences += [f"{key} is {value.get(key)}, was {was.get(key)}" for key in dict.fromkeys([*value, *was])
                      if plain(was.get(key)) != plain(value.get(key))]  # fmt: skip
        else:
            differences.append(NAMED.get(name, f"{name} is {value}, was {was}"))
    return differences


def _versions(before: Mapping[str, Any], now: Mapping[str, Any], record: Mapping[str, Any] | None,
              code: AnswerCode) -> list[str]:
    differences = []
    if before.get("mmrope-eval") != now.get("mmrope-eval"):
        where = what_changed(str(before.get("mmrope-eval")), record, code)
        differences.append("other code gave them" + (f" (what differs: {where})" if where else ""))
    packages = [name for name in dict.fromkeys([*now, *before]) if name != "mmrope-eval"]
    return differences + [f"{name} is {now.get(name)}, was {before.get(name)}" for name in packages
                          if before.get(name) != now.get(name)]  # fmt: skip
