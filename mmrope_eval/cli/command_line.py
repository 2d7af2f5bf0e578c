"""The command line: arguments in, exit code out.

Exit codes: 0 all went well, 1 some samples failed or a check did not pass, 2 bad input, 130 and 143 ended by Ctrl-C and
SIGTERM.

Adding a subcommand: one line in `COMMANDS`, and the function that it names, which takes one kind of `Keys`, where the
options are declared, and returns the exit code. Its file is imported when the command is chosen: `--help` never waits
for torch or vLLM. No other room knows argparse's namespaces.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import importlib.util
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from mmrope_eval.cli.foreign import answer
from mmrope_eval.errors import NO_INODES, Terminated, UserError, takes_no_files
from mmrope_eval.util import console
from mmrope_eval.util.files import FULL
from mmrope_eval.util.paths import cache_at
from mmrope_eval.version import __version__
from mmrope_eval.words import nearest

if TYPE_CHECKING:
    from mmrope_eval.util.keys import Keys

PROGRAM = "mmrope-eval"
INTERRUPTED = 130
TERMINATED = 143
"""As a shell says it of SIGTERM."""


class Command(NamedTuple):
    """What a command does in a line; what it is asked, a kind of `Keys`, and the function that is called with it, both
    by their places in the package: --help loads the first alone. Parts of a command are commands themselves."""

    summary: str
    asked: str | None = None
    does: str | None = None
    parts: Mapping[str, Command] = MappingProxyType({})

    def options(self) -> type[Keys]:
        """What the command is asked."""
        kind: type[Keys] = _at(self.asked)
        return kind

    def work(self) -> Callable[[Any], int]:
        """The function that does it."""
        function: Callable[[Any], int] = _at(self.does)
        return function


def _at(place: str | None) -> Any:
    module, _, name = f"mmrope_eval.{place}".rpartition(".")
    return getattr(importlib.import_module(module), name)


COMMANDS: Final[Mapping[str, Command]] = MappingProxyType({
    "run": Command("evaluate checkpoints under RoPE variants", "cli.run.RunOptions", "cli.run.main"),
    "study": Command("evaluate all runs of a file, on one engine", "cli.study.StudyOptions", "cli.study.main"),
    "status": Command("say how far a run or a study is", "run.options.StatusOptions", "run.status.main"),
    "list": Command("list variants, tasks and suites", "cli.catalogue.ListOptions", "cli.catalogue.list_names"),
    "show": Command("show one variant, task or suite in full", "cli.catalogue.ShowOptions", "cli.catalogue.show"),
    "score": Command("score responses from a file", "run.options.ScoreOptions", "run.score_file.main"),
    "rescore": Command("score a stored run anew", "run.options.RescoreOptions", "run.rescore.main"),
    "samples": Command("show single samples of a run: question, response, what was read, what is right",
                       "report.options.SamplesOptions", "report.samples_command.main"),
    "analyze": Command("compare variants' positions and frequencies, or attention on visual tokens",
                       "analysis.options.AnalyzeOptions", "analysis.command.main"),
    "compare": Command("say in which tasks two runs differ, and how surely",
                       "report.options.CompareOptions", "report.compare.compare.main"),
    "check": Command("fail where a run is worse than a baseline",
                     "report.options.CheckOptions", "report.compare.gate.main"),
    "table": Command("print one of the paper's tables from finished runs",
                     "report.options.TableOptions", "cli.tables.main"),
    "trainings": Command("compare designs over several trainings of each",
                         "report.options.TrainingsOptions", "report.compare.trainings_command.main"),
    "steps": Command("show scores over the steps of trainings, as a table and a figure",
                     "report.options.StepsOptions", "report.steps.command.main"),
    "data": Command("check a local mirror of the datasets, or plan one", parts={
        "check": Command("check every row, picture and video of a local mirror",
                         "task.options.CheckOptions", "task.mirror.check"),
        "plan": Command("print the commands that make a local mirror",
                        "task.options.PlanOptions", "task.mirror_plan.plan"),
        "prune": Command("free what the cache holds and can make again",
                         "task.options.PruneOptions", "task.mirror_plan.prune"),
    }),
    "demo": Command("evaluate trained tiny checkpoints on a small built-in world",
                    "cli.demo.DemoOptions", "cli.demo.demo", {
        "train": Command("make the checkpoints: minutes for each on one core",
                         "cli.demo.TrainOptions", "cli.demo.train"),
        "data": Command("generate miniatures of all benchmarks, a mirror for --data-root",
                        "cli.demo.DataOptions", "cli.demo.data"),
        "needle": Command("generate needles in haystacks: cards in videos of any length",
                          "cli.demo.NeedleOptions", "cli.demo.needle"),
    }),
    "sweep": Command("extrapolate to longer contexts, with and without scaling",
                     "sweep.options.SweepOptions", "cli.sweep.main"),
    "inspect": Command("say what checkpoints hold, under which RoPE, and how each would be asked",
                       "run.options.InspectOptions", "cli.inspection.main"),
    "stamp": Command("write the RoPE that a checkpoint was trained with into its config.json",
                     "models.options.StampOptions", "models.stamp.main"),
    "doctor": Command("check this machine and say what to fix", "cli.machine.DoctorOptions", "cli.machine.main"),
})  # fmt: skip
"""Every command."""


REPLACED: Final = {
    "untrained": "'demo untrained' is gone: 'mmrope-eval demo' runs trained checkpoints on a small synthetic world "
                 "instead, and 'mmrope-eval demo data' writes that world for any checkpoint",
}
"""Parts of commands that there were, and what a user who names one reads."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, with a suggestion where a misspelling is likely."""

    def error(self, message: str) -> NoReturn:
        """Print one line on stderr and exit with code 2."""
        unknown = re.match(r"argument (COMMAND|PART): invalid choice: '([^']*)'", message)
        if unknown and unknown[1] == "COMMAND":
            message = f"unknown command '{unknown[2]}'{suggestion(unknown[2], [*COMMANDS])}"
        elif unknown:
            message = REPLACED.get(unknown[2], message)
        self.exit(2, f"{PROGRAM}: error: {message} (see {self.prog} --help)\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse drops what a full disk does not take, and prints arguments with whatever is in them."""
        if message:
            console.say(message, file=file or sys.stderr, end="")


def suggestion(word: str, choices: Sequence[str]) -> str:
    """A did-you-mean clause for `word`, or nothing when no choice is close."""
    close = nearest(word, choices, 0.6)
    return f", did you mean '{close}'?" if close else ""


def build_parser(declared: Iterable[str] = COMMANDS) -> tuple[Parser, dict[str, Parser]]:
    """The top-level parser, and each subcommand's own by name, of which the `declared` ones know their arguments."""
    parser = Parser(prog=PROGRAM, description="Evaluate multimodal rotary position embeddings on a live vLLM engine.",
                    allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    by_name = added(parser.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands"), COMMANDS)
    for name in declared:
        declare(by_name[name], COMMANDS[name])
    return parser, by_name


def added(subparsers: argparse._SubParsersAction[Parser], commands: Mapping[str, Command]) -> dict[str, Parser]:
    """A parser for each of these commands, by name."""
    return {name: subparsers.add_parser(
        name, help=command.summary, description=command.summary[0].upper() + command.summary[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
        for name, command in commands.items()}  # fmt: skip


def declare(parser: Parser, command: Command) -> None:
    """Add the options and parts of a command to its parser."""
    if command.asked is not None:
        from mmrope_eval.cli.options import declared_options

        declared_options(parser, command.options())
    if command.parts:
        parts = parser.add_subparsers(dest="part", metavar="PART", required=command.asked is None, title="parts")
        for name, part in added(parts, command.parts).items():
            declare(part, command.parts[name])


def chosen(argv: Sequence[str]) -> tuple[Command, Keys]:
    """The command that these arguments name, and what it is asked; exits with code 2 and one line on anything
    unknown or malformed."""
    parser, by_name = build_parser([word for word in argv[:1] if word in COMMANDS])
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        sub = by_name[args.command]
        options = option_names(sub, getattr(args, "part", None))
        word = unknown[0].split("=")[0]
        answered = answer(word, options)
        sub.error(f"unknown argument '{unknown[0]}'{f': {answered}' if answered else suggestion(word, options)}")
    command = COMMANDS[args.command]
    from mmrope_eval.cli.options import options_as

    command = command.parts.get(getattr(args, "part", None) or "", command)
    return command, options_as(command.options(), args)


def option_names(parser: argparse.ArgumentParser, part: str | None = None) -> list[str]:
    """The names of all options of a command, or of one of its parts."""
    names: list[str] = []
    for action in parser._actions:
        if part is not None and isinstance(action, argparse._SubParsersAction):
            return option_names(action.choices[part])
        names += [name for name in action.option_strings if name.startswith("--")]
    return names


def parse(argv: Sequence[str]) -> Any:
    """Read what these arguments ask of their command (see `chosen`)."""
    return chosen(argv)[1]


def bad_input(error: Exception) -> str | None:
    """The sentence to show when `error` is the user's to fix, else None: such an error is ours and keeps its trace."""
    if isinstance(error, UserError):
        return str(error)
    synth = sys.modules.get("mmrope_synth.errors")
    if synth and isinstance(error, synth.SynthError):
        return str(error)
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        return machine_trouble(error)
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error.name)
    return None


def missing_package(name: str | None) -> str | None:
    """One sentence on a package that cannot be imported, where the installation is to blame."""
    if name == "mmrope_demo":
        return "the demo is in a checkout of mmrope-eval and not in an installed one: run 'make demo' in a checkout"
    if name == "mmrope_synth" or importlib.util.find_spec("vllm") is None:
        return f"the package '{name}' is missing from {sys.executable}: run 'make setup' once and use .venv/bin/python"
    return None


REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
OF_THE_MACHINE = FULL | REFUSED | {errno.EEXIST, errno.EIO, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT,
                                   errno.ENOTDIR, errno.ESTALE}  # fmt: skip
"""What says that a file or folder cannot be used as it is; other errors of the system are ours."""


def machine_trouble(error: OSError) -> str:
    """One sentence on a file that the operating system does not let us use, with what helps."""
    what = str(error.filename) if error.filename is not None else "the output"
    if error.errno == errno.ENOSPC and takes_no_files(what):
        return f"{what} cannot be used ({NO_INODES}): remove some files; the same command continues"
    if error.errno in FULL:
        fix = "free some space; what was answered is kept, and the same command continues"
    else:
        fix = f"make it {needed(what)} or choose another place" if error.errno in REFUSED else "choose another place"
    return f"{what} cannot be used ({error.strerror}): {fix}"


def needed(what: str) -> str:
    """What a file lacks that the system refuses us: one that cannot even be read, nobody wanted to write."""
    try:
        Path(what).stat()
    except PermissionError:
        return "readable"
    except OSError:
        return "writable"
    return "writable" if os.access(what, os.R_OK) else "readable"


def main(argv: Sequence[str] | None = None, command: str | None = None) -> int:
    """Run the command line and return its exit code; `command` fixes the subcommand, as evaluate.py does."""
    console.prepare()
    given = list(sys.argv[1:] if argv is None else argv)
    return ended(lambda: execute([command, *given] if command else given))


def ended(work: Callable[[], int]) -> int:
    """Do a command's work; its exit code, also where it was ended or what it raised is the user's to fix."""
    try:
        code = work()
        console.finish()
        return code
    except KeyboardInterrupt:
        console.complain(f"\n{PROGRAM}: interrupted; the same command continues where this one stopped.")
        return INTERRUPTED
    except Terminated:
        console.complain(f"\n{PROGRAM}: ended by SIGTERM; the same command continues where this one stopped.")
        return TERMINATED
    except BrokenPipeError:
        if not console.reader_left():  # another pipe: that of a process of ours
            raise
        return 0
    except Exception as error:
        sentence = bad_input(error)
        if sentence is None:
            raise
        console.complain(f"{PROGRAM}: error: {' '.join(sentence.split())}")
        return 2


def execute(argv: Sequence[str]) -> int:
    """Parse and dispatch. What argparse prints (--help, its own errors) is written out before it ends the program."""
    options = None
    try:
        command, options = chosen(argv)
        with cache_at(getattr(options, "cache_dir", None)), console.quiet(getattr(options, "quiet", False)):
            return command.work()(options)
    except Exception as error:
        if getattr(options, "verbose", False) and bad_input(error) is not None:  # Python prints the others' itself
            console.complain("".join(traceback.format_exception(error)).rstrip())
        raise
    except SystemExit:
        console.finish()
        raise


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Take SIGTERM as a wish to end in order: what is answered is stored and engines end. A second one ends at once."""
    signal.signal(number, signal.SIG_DFL)
    raise Terminated


def entry(command: str | None = None) -> NoReturn:
    """Run the command line and end the process, at once where it was interrupted. Otherwise Python would take
    everything apart first that vLLM imported, for seconds."""
    signal.signal(signal.SIGTERM, terminate)
    code = main(command=command)
    if code in (INTERRUPTED, TERMINATED):
        with contextlib.suppress(UserError):
            console.finish()
        os._exit(code)
    sys.exit(code)
