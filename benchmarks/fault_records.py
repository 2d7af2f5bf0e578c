"""Damage the records of a finished run at random and see what the commands that read them say.

    python benchmarks/fault_records.py [--damages 800] [--seed 0] [--unsealed] [--scratch DIR] [--json FILE]

Time: about ten minutes on two shared cores.

The run is real: one of the demo's checkpoints on miniature benchmarks, and a small sweep, through the real engine.
Every damage goes to a copy, and all commands that read it run in this process: `table`, `steps`, `compare`, `check`
and `rescore`, or `sweep --report-only`. What a command may do with damaged records:

- sentence: exit code 2, nothing printed, one line on stderr that names what is wrong;
- same: exactly what it does with the sound run;
- said: another result, with a line on stderr that was not there before;
- traceback, or silent: another result without a word. Neither may happen.

--unsealed takes the seals away first, which is what records of versions 0.2 and 0.3 are like: then only what can be
recomputed is found, and changes of what cannot be (a name, a chance level) pass as "silent".
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import io
import json
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrope_eval import cli
from mmrope_eval.record.files import SEAL
from mmrope_eval.record.schema import MANIFEST, SCORES, SWEEP

ROOT = Path(__file__).resolve().parents[1]
DEEP = "[" * 100_000
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 1.5, -0.5, 99.5, 1e308, 10**30, 10**400, "", "x", "0", "=1+1", "\ud800",
    "\x1b[2J", "a\nb", "../../x", "模型", "y" * 10_000, [], {}, [1], [[]], {"a": 1}, {"value": 50.0, "n": 4},
)
RAW_VALUES = ("NaN", "Infinity", "-Infinity", "1e999", DEEP, "01", "'x'")
"""What is written in place of a value as it stands: no JSON, or none that a number can hold."""


@dataclass(frozen=True)
class Commands:
    """The commands that read a run, with RUN for the sound one and CASE for the damaged."""

    sound: Path
    lines: tuple[tuple[str, ...], ...]

    def of(self, case: Path, out: Path) -> Iterator[tuple[str, ...]]:
        """The command lines for a damaged copy; files go to `out`."""
        places = {"RUN": str(self.sound), "CASE": str(case), "OUT": str(out)}
        yield from (tuple(places.get(word, word) for word in line) for line in self.lines)


RUN_COMMANDS = (
    ("table", "2", "CASE", "--all", "--intervals", "--partial"),
    ("table", "2", "CASE", "--all", "--format", "json", "--baseline", "vanilla"),
    ("steps", "CASE", "--partial", "--format", "csv"),
    ("compare", "RUN", "CASE"),
    ("check", "CASE", "--against", "RUN"),
    ("rescore", "CASE"),
)
SWEEP_COMMANDS = (("sweep", "demo", "--report-only", "--output", "CASE"),)


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int | None
    """None: an exception came out."""
    out: str
    err: str
    files: Mapping[str, bytes]


@dataclass
class Campaign:
    """Damages tried so far: how many there were of each kind of result, and what must not be."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    wrong: list[str] = field(default_factory=list)
    """A line for each traceback and each silent change."""

    def add(self, results: Mapping[tuple[str, ...], str], damage: str) -> None:
        """The results of one damage, by command; the worst of them counts."""
        order = ("traceback", "silent", "said", "sentence", "same")
        result_by_kind = {result.partition("\n")[0]: (line, result) for line, result in results.items()}
        worst = next(kind for kind in order if kind in result_by_kind)
        self.counts[worst] += 1
        if worst in order[:2]:
            line, result = result_by_kind[worst]
            self.wrong.append(f"{damage}: {' '.join(line)}: {result}")


def campaign(commands: Commands, damages: int, seed: int, scratch: Path, *, unsealed: bool = False) -> Campaign:
    """Damage copies of a run and run all commands on each; the first call on the sound run says what is right."""
    sound = Path(shutil.copytree(commands.sound, scratch / "sound"))
    if unsealed:
        unseal(sound)
    commands = dataclasses.replace(commands, sound=sound)
    right = {line: outcome(line, sound, scratch / "again") for line in commands.of(sound, scratch / "out")}
    for line, sound_outcome in right.items():
        if sound_outcome.code == 2 or sound_outcome.code is None:
            raise SystemExit(f"{' '.join(line)} does not work on the sound run: {sound_outcome.err}")
    expected = list(right.values())
    result = Campaign()
    for number in range(damages):
        case = Path(shutil.copytree(sound, scratch / "case"))
        dice = random.Random(f"{seed}/{number}")
        told = f"{number}: {damage(case, dice)}"
        results = {line: kind_of(line[0], outcome(line, case, scratch / "again"), true, case, sound)
                   for line, true in zip(commands.of(case, scratch / "out"), expected, strict=True)}
        result.add(results, told)
        remove(case)
    return result


def outcome(line: tuple[str, ...], case: Path, again: Path) -> Outcome:
    """Run one command line in this process, on the case; what it writes there is undone."""
    keep = Path(shutil.copytree(case, again, symlinks=True))
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code: int | None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main(list(line))
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 2
        except Exception:  # noqa: BLE001 - exactly what is looked for
            code = None
            err.write(traceback.format_exc())
    files = {str(path.relative_to(case)): path.read_bytes() for path in sorted(case.rglob("*"))
             if path.is_file() and path.suffix in (".json", ".jsonl", ".csv")}
    remove(case)
    keep.rename(case)
    out_text, err_text = (stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err))
    return Outcome(code, out_text, err_text, files)


def kind_of(command: str, actual: Outcome, right: Outcome, case: Path, sound: Path) -> str:
    """sentence, same, said, silent or traceback; of the last two with what is to be seen, on further lines."""
    if actual.code is None:
        return f"traceback\n{' | '.join(actual.err.strip().splitlines()[-3:])[:600]}"
    out, err = (text.replace(str(case), str(sound)) for text in (actual.out, actual.err))
    if actual.code == 2:
        lines = err.strip().splitlines()
        fine = not out and lines and lines[-1].startswith("mmrope-eval: error: ") and "\x1b" not in err
        return "sentence" if fine else f"silent\nno sentence: {out[:200]} {err[:400]}"
    if (actual.code, out, err) == (right.code, right.out, right.err) and results_equal(command, actual, right):
        return "same"
    news = set(err.splitlines()) - set(right.err.splitlines())
    return "said" if news else f"silent\n{difference(out, right.out) or 'other files'}"


def results_equal(command: str, actual: Outcome, right: Outcome) -> bool:
    """Whether the results that a command writes are the right ones."""
    written = {"rescore": (SCORES, ".jsonl"), "sweep": (".csv",)}.get(command, ())
    return all(actual.files.get(name) == content for name, content in right.files.items() if name.endswith(written))


def difference(text: str, other: str) -> str:
    """The first line in which two texts differ."""
    pairs = zip([*text.splitlines(), ""], [*other.splitlines(), ""], strict=False)
    return next((f"{first[:200]!r} for {second[:200]!r}" for first, second in pairs if first != second), "")


# --------------------------------------------------------------------------------------------------------------
# Damages


def records(case: Path) -> list[Path]:
    """The files that are damaged: all JSON, all JSON lines."""
    return sorted(path for path in case.rglob("*") if path.suffix in (".json", ".jsonl") and path.is_file())


def damage(case: Path, dice: random.Random) -> str:
    """Do one damage to a copy of a run; what it was, in words."""
    files = records(case)
    # Half of the damages hit the few records, else nearly all would hit samples.
    heads = [path for path in files if path.name in (SCORES, MANIFEST, SWEEP)]
    path = dice.choice(heads if dice.random() < 0.5 else files)
    kinds: list[Callable[[Path, random.Random], str]] = [flip, cut, change, change, change]
    if path.suffix == ".jsonl":
        kinds += [double, remove_lines]
    if dice.random() < 0.04:
        kinds = [lose, empty, make_a_folder]
    kind = dice.choice(kinds)
    return f"{path.relative_to(case)}: {kind(path, dice)}"


def flip(path: Path, dice: random.Random) -> str:
    """One to three flipped bits."""
    content = bytearray(path.read_bytes())
    places = sorted(dice.randrange(len(content)) for _ in range(dice.choice([1, 1, 3])))
    for place in places:
        content[place] ^= 1 << dice.randrange(8)
    path.write_bytes(content)
    return f"bits flipped at {places}"


def cut(path: Path, dice: random.Random) -> str:
    """The end is lost."""
    content = path.read_bytes()
    size = dice.randrange(len(content))
    path.write_bytes(content[:size])
    return f"cut to {size} of {len(content)} bytes"


def change(path: Path, dice: random.Random) -> str:
    """One JSON value at a random path becomes another one, or goes."""
    lines = path.read_text(encoding="utf-8").split("\n") if path.suffix == ".jsonl" else [path.read_text("utf-8")]
    line = dice.choice([number for number, text in enumerate(lines) if text])
    content = json.loads(lines[line])
    place = content
    keys: list[Any] = []
    while isinstance(place, dict | list) and place and (not keys or dice.random() < 0.85):
        keys.append(dice.choice(sorted(place) if isinstance(place, dict) else range(len(place))))
        before, place = place, place[keys[-1]]
    how = dice.random()
    if how < 0.1:
        del before[keys[-1]]
        done = "deleted"
    else:
        mark, raw = "@value@", dice.choice(RAW_VALUES)
        value = mark if how < 0.3 else dice.choice(VALUES)
        before[keys[-1]] = value
        done = f"now {(raw if value is mark else json.dumps(value))[:30]}"
    text = json.dumps(content, indent=None if path.suffix == ".jsonl" else 2)
    lines[line] = text.replace('"@value@"', raw) if how >= 0.1 else text
    path.write_text("\n".join(lines), encoding="utf-8")
    return f"line {line + 1}, {'.'.join(map(str, keys))} {done}"


def double(path: Path, dice: random.Random) -> str:
    """Lines come twice: one, or all."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if dice.random() < 0.5:
        lines += lines
    else:
        lines.insert(dice.randrange(len(lines) + 1), dice.choice(lines))
    path.write_text("".join(lines), encoding="utf-8")
    return f"lines doubled, {len(lines)} now"


def remove_lines(path: Path, dice: random.Random) -> str:
    """Lines are lost: one, or the second half."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = lines[: len(lines) // 2] if dice.random() < 0.5 else dice.sample(lines, len(lines) - 1)
    path.write_text("".join(kept), encoding="utf-8")
    return f"{len(kept)} of {len(lines)} lines left"


def lose(path: Path, _: random.Random) -> str:
    """The file is gone."""
    path.unlink()
    return "gone"


def empty(path: Path, _: random.Random) -> str:
    """Nothing is in it."""
    path.write_bytes(b"")
    return "empty"


def make_a_folder(path: Path, _: random.Random) -> str:
    """A folder is in its place."""
    path.unlink()
    path.mkdir()
    return "a folder"


def unseal(folder: Path) -> None:
    """Take the seals of all records away."""
    for path in records(folder):
        if path.name in (MANIFEST, SWEEP):
            content = json.loads(path.read_text(encoding="utf-8"))
            content.pop(SEAL, None)
            path.write_text(json.dumps(content), encoding="utf-8")


def remove(folder: Path) -> None:
    """Remove a folder and all in it."""
    shutil.rmtree(folder)


# --------------------------------------------------------------------------------------------------------------
# The sound run


def make_run(scratch: Path) -> tuple[Commands, Commands]:
    """A run and a sweep of a demo checkpoint, called a training step, on eight rows a column."""
    model = Path(shutil.copytree(ROOT / "checkpoints" / "mrope", scratch / "training" / "checkpoint-100"))
    data, out = scratch / "data", scratch / "runs"
    tasks = "mmmu,mmbench,mmstar,ocrbench,docvqa,mvbench,charades_sta,refcoco_val"
    config = scratch / "tiny.yaml"
    config.write_text("title: needles\ncontexts: [96, 192]\ntrain_context: 96\nvariants: []\nscaling: [none, yarn]\n"
                      "needle: {depths: [0, 50, 100], questions: 2, distractors: 1}\nframes: {cells: 2, fps: 4}\n")
    for line in (
        ("demo", "data", "--out", data, "--n", 8),
        ("run", "--model", model, "--tasks", tasks, "--data-root", data, "--output", out / "run",
         "--max-model-len", 4096),
        ("sweep", config, "--model", model, "--output", out / "sweep"),
    ):
        if cli.main([str(word) for word in line]) == 2:
            raise SystemExit(f"{line[0]} did not work")
    shutil.rmtree(out / "sweep" / "data", ignore_errors=True)
    return Commands(out / "run", RUN_COMMANDS), Commands(out / "sweep", SWEEP_COMMANDS)


def main() -> int:
    """Make the run, damage it, print what came of it; 1 when something was silent or ended in a traceback."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damages", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unsealed", action="store_true", help="take the seals away first")
    parser.add_argument("--scratch", type=Path, default=None, help="where to work (default: a temporary folder)")
    parser.add_argument("--json", metavar="FILE", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = args.scratch or Path(temporary)
        of_run, of_sweep = make_run(scratch)
        result = Campaign()
        for name, commands, share in (("run", of_run, 3 * args.damages // 4), ("sweep", of_sweep, 0)):
            count = share or args.damages - result.counts.total()
            subtotal = campaign(commands, count, args.seed, scratch / f"damaged-{name}", unsealed=args.unsealed)
            print(f"{name}: {count} damages: {dict(subtotal.counts)}", flush=True)
            result.counts += subtotal.counts
            result.wrong += subtotal.wrong
    print("\n".join(result.wrong))
    print(f"{result.counts.total()} damages: " + ", ".join(f"{kind} {n}" for kind, n in result.counts.most_common()))
    if args.json:
        args.json.write_text(json.dumps({"counts": result.counts, "wrong": result.wrong}, indent=1) + "\n")
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
