"""Damage pictures and videos in many ways and load each by the code that a run uses.

    python benchmarks/fault_media.py [--media 300] [--seed 0] [--scratch DIR]

Time: about ten minutes on two shared cores.

Pictures in five formats and videos in four containers, each whole once and then damaged: flipped bits, stretches of
zeros, cut off, pieces exchanged, another file's head, odd sizes in the head. What loading may do:

- refused: MediaError, in one sentence that names the file;
- whole: the very pixels of the undamaged file, whether or not something is noted;
- noted: other pixels, with a note that says what was found;
- damaged: other pixels without a note, where the format has no means of telling (a JPEG's or a video's bits are only
  wrong for whoever knows the right ones). Not so where the end of the file is missing: that must be noted.

An exception of another kind, a loading that takes longer than --patience, more than --memory, or a second loading with
other pixels are faults and make the exit code 1.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAULTS = ("exception", "hang", "memory", "unsteady", "shortened without a word")
PICTURES: Mapping[str, Mapping[str, object]] = {
    "PNG": {}, "JPEG": {"quality": 80}, "WEBP": {"quality": 80}, "GIF": {}, "TIFF": {"compression": "tiff_lzw"},
}  # fmt: skip
VIDEOS: Mapping[str, str] = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx-vp9", "avi": "mpeg4"}


def main() -> int:
    """Run the campaign; exit code 1 when it found a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for one file (default: %(default)s)")
    parser.add_argument("--memory", type=int, default=1024, help="MB of one process (default: %(default)s)")
    parser.add_argument("--scratch", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        return load_all()
    with tempfile.TemporaryDirectory() as temporary:
        trials = campaign(args.media, args.seed, args.scratch or Path(temporary), args.patience, args.memory)
    return report(trials)


# ------------------------------------------------------------------------------------------------------------ the media


def whole_media(folder: Path) -> list[Path]:
    """One sound file of every format."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from media_files import encoded, noise, write_video

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for form, options in PICTURES.items():
        path = folder / f"picture.{form.lower()}"
        path.write_bytes(encoded(noise(160, 120).quantize(64) if form == "GIF" else noise(160, 120), form, **options))
        paths.append(path)
    for suffix, codec in VIDEOS.items():
        paths.append(write_video(folder / f"video.{suffix}", range(48), time_base=Fraction(1, 25), codec=codec))
    return paths


def bits(content: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    """Flipped bits: 1, 3 or 30."""
    for _ in range(dice.choice([1, 3, 30])):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)


def head(content: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    """Flipped bits in the first 100 bytes, which say what the file is and how large."""
    for _ in range(dice.choice([1, 3])):
        content[dice.randrange(min(100, len(content)))] ^= 1 << dice.randrange(8)


def zeros(content: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    """A stretch of zeros, as a file system leaves it after a crash."""
    begin, size = dice.randrange(len(content)), dice.choice([4, 64, 512, 4096])
    content[begin : begin + size] = bytes(len(content[begin : begin + size]))


def cut(content: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    """The end is missing, as of a download that stopped."""
    del content[dice.randrange(len(content)) :]


def pieces(content: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    """One piece in the place of another."""
    size = dice.choice([16, 256, 1024])
    target, source = (dice.randrange(max(1, len(content) - size)) for _ in range(2))
    content[target : target + size] = content[source : source + size]


def foreign(content: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    """The beginning of another format."""
    size = dice.choice([8, 64, 512])
    content[:size] = dice.choice(others)[:size]


def ones(content: bytearray, dice: random.Random, others: Sequence[bytes]) -> None:
    """Large numbers where lengths, sizes and counts stand."""
    begin = dice.randrange(min(2048, len(content)))
    content[begin : begin + 4] = dice.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00"])


Damage = Callable[[bytearray, random.Random, Sequence[bytes]], None]
DAMAGES: Mapping[str, Damage] = {damage.__name__: damage for damage in (bits, head, zeros, cut, pieces, foreign, ones)}


# ------------------------------------------------------------------------------------------------------------ a process


@dataclass(frozen=True)
class Loaded:
    """What came of loading one file."""

    pixels: str | None = None
    notes: tuple[str, ...] = ()
    refused: str | None = None
    exception: str | None = None
    peak: float = 0.0
    """MB of the process so far."""


def load_all() -> int:
    """Load each file named on the standard input, and say what came of it in a line of JSON."""
    for line in sys.stdin:
        print(json.dumps(vars(load(Path(line.rstrip("\n"))))), flush=True)
    return 0


def load(path: Path) -> Loaded:
    """Load one file as a run does."""
    from mmrope_eval.media.image import load_image
    from mmrope_eval.media.policy import MediaError, MediaPolicy
    from mmrope_eval.media.video import load_video
    from mmrope_eval.messages import ImageSource, VideoSource
    from mmrope_eval.models.family import VisionGeometry

    geometry, policy = VisionGeometry(14, 2, 2), MediaPolicy()
    try:
        if path.name.startswith("video"):
            video = load_video(VideoSource(path), policy, geometry)
            pixels, notes = video.frames.tobytes(), video.facts.notes
        else:
            image = load_image(ImageSource(path.read_bytes()), policy, geometry)
            pixels, notes = image.pixels.tobytes(), image.facts.notes
    except MediaError as error:
        return Loaded(refused=str(error), peak=peak())
    except Exception:  # noqa: BLE001 - that is what is looked for
        return Loaded(exception=" | ".join(traceback.format_exc().strip().splitlines()[-3:]), peak=peak())
    return Loaded(hashlib.sha256(pixels).hexdigest(), tuple(notes), peak=peak())


def peak() -> float:
    """MB that this process has held at most; getrusage would count what its parent held when it started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


class Loader:
    """A process that loads files, so that a hang or a crash costs one of them."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, path: Path) -> Loaded | str:
        """What came of it, or the fault: hang, or exception where the process died."""
        if self._process is None:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen([sys.executable, __file__, "--load"], text=True, env=environment,
                                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        waiting = Alarm(process, self.patience)
        with waiting:
            line = process.stdout.readline()
        if line:
            fields = json.loads(line)
            return Loaded(**{**fields, "notes": tuple(fields["notes"])})
        self.close()
        return "hang" if waiting.rang else "exception"

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Alarm:
    """Kills a process that does not answer in time."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        import threading

        self.rang = False
        self._process, self._timer = process, threading.Timer(seconds, self._ring)

    def _ring(self) -> None:
        self.rang = True
        self._process.kill()

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


# --------------------------------------------------------------------------------------------------------- the campaign


@dataclass(frozen=True)
class Trial:
    """What one damage led to."""

    number: int
    file: str
    damage: str
    outcome: str
    words: str = ""


def campaign(count: int, seed: int, scratch: Path, patience: float = 60.0, memory: int = 1024) -> list[Trial]:
    """So many damaged files, each loaded twice."""
    whole = whole_media(scratch / "whole")
    others = [path.read_bytes() for path in whole]
    loader = Loader(patience)
    right = {path: loader(path) for path in whole}
    bad = [f"{path.name}: {loaded}" for path, loaded in right.items()
           if not isinstance(loaded, Loaded) or loaded.pixels is None]  # fmt: skip
    if bad:
        raise SystemExit(f"a sound file cannot be loaded: {'; '.join(bad)}")
    trials = []
    for number in range(count):
        dice = random.Random(f"{seed}/{number}")
        path, damage = whole[number % len(whole)], dice.choice(list(DAMAGES))
        content = bytearray(path.read_bytes())
        DAMAGES[damage](content, dice, others)
        copy = scratch / f"{path.stem}-{number}{path.suffix}"
        copy.write_bytes(content)
        outcome, words = judged(right[path], loader(copy), loader(copy), copy, damage, memory)
        trials.append(Trial(number, path.name, damage, outcome, words))
        copy.unlink()
    loader.close()
    return trials


def judged(
    right: Loaded | str, first: Loaded | str, again: Loaded | str, path: Path, damage: str, memory: int
) -> tuple[str, str]:
    """The outcome in a word, and what was said."""
    for loaded in (first, again):
        if isinstance(loaded, str):
            return loaded, "the process died" if loaded == "exception" else ""
        if loaded.exception is not None:
            return "exception", loaded.exception
        if loaded.peak > memory:
            return "memory", f"{loaded.peak:.0f} MB"
    assert isinstance(first, Loaded) and isinstance(again, Loaded) and isinstance(right, Loaded)
    if (first.pixels, first.refused) != (again.pixels, again.refused):
        return "unsteady", f"{first} and {again}"
    if first.refused is not None:
        lines = len(first.refused.splitlines()) == 1
        named = path.name in first.refused or not path.name.startswith("video")
        return ("refused", first.refused) if lines and named else ("exception", f"no sentence: {first.refused}")
    if first.pixels == right.pixels:
        return "whole", "; ".join(first.notes)
    if set(first.notes) - set(right.notes):
        return "noted", "; ".join(first.notes)
    return ("shortened without a word", "") if damage == "cut" else ("damaged", "")


def report(trials: Sequence[Trial]) -> int:
    """Print what came of every kind of damage; 1 where there is a fault."""
    from tabulate import tabulate

    outcomes = list(dict.fromkeys(["refused", "whole", "noted", "damaged", *(trial.outcome for trial in trials)]))
    counts = collections.Counter((trial.damage, trial.outcome) for trial in trials)
    rows = [[damage, *(counts[damage, outcome] for outcome in outcomes)] for damage in DAMAGES]
    print(tabulate(rows, ["damage", *outcomes], tablefmt="simple"))
    wrong = [trial for trial in trials if trial.outcome in FAULTS]
    for trial in wrong:
        print(f"{trial.number} ({trial.file}, {trial.damage}): {trial.outcome}: {trial.words}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
