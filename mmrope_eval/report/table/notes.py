"""What a reader must know about a table's cells: footnotes with the cells they are about, and remarks on all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from mmrope_eval.record.comparable import differing
from mmrope_eval.report.candidates import BenchmarkResult
from mmrope_eval.report.compare.protocol_notes import differing_protocols, off_protocol, rows_of_one
from mmrope_eval.report.published import RECOMPUTED, Published
from mmrope_eval.report.table.build import Table
from mmrope_eval.rope import Variant
from mmrope_eval.util.unread import WARNING, too_many

Place = tuple[str | None, str | None]
"""(row, column); None for the whole row's or column's heading."""

UNREAD_CAUSES: Final = "often as the answer limit cut them off (--max-tokens, --thinking)"


@dataclass(frozen=True)
class Note:
    """A footnote: its kind for machines, its text, and where its mark stands."""

    kind: str
    text: str
    places: frozenset[Place]


def footnotes(table: Table) -> list[Note]:
    """All footnotes, in the order of their marks."""
    counts = (
        # Of several runs of a benchmark, which is one benchmark still: what the one asked that asked the least of it.
        ("incomplete", "part of the benchmark only", lacking, min),
        ("failed", "with failed samples, counted wrong", lambda entry: positive(entry, "failed"), added),
        ("truncated", "with answers cut off at the token limit", lambda entry: positive(entry, "truncated"), added),
        ("unread", f"{WARNING}, {UNREAD_CAUSES}", hardly_read, added),
    )
    notes = [count_note(table, kind, text, count, together) for kind, text, count, together in counts]
    notes += [
        departure_note(table, "answer-limit", "max_tokens", ",",
                       "tokens that an answer could have, other than the task's own limit"),
        departure_note(table, "temperature", "temperature", "g",
                       "temperature at which answers were drawn (0: greedily), other than the task's own"),
    ]
    notes += [*average_notes(table), unlike_note(table), *protocol_notes(table)]
    notes += [*row_notes(table), *time_notes(table)]
    rows, columns = (None, *table.rows), (None, *table.columns)
    return [note for note in notes if note is not None and any(row in rows and column in columns
                                                               for row, column in note.places)]


def lacking(entry: BenchmarkResult) -> tuple[int, int] | None:
    """(samples asked, samples of the benchmark) where the first are fewer; None where complete or unknown."""
    n, expected = entry.scores["n"], entry.scores["expected"]
    if pd.isna(expected) or pd.isna(n):
        return (int(n), 0) if entry.scores["limited"] and not pd.isna(n) else None
    return (int(n), int(expected)) if n < expected else None


def added(counts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Add up the counts of several runs that each have answers of their own."""
    return sum(part for part, _ in counts), sum(whole for _, whole in counts)


def positive(entry: BenchmarkResult, name: str) -> tuple[int, int] | None:
    """(count, samples) where the count is known and above zero."""
    count, n = entry.scores[name], entry.scores["n"]
    return None if pd.isna(count) or not count else (int(count), int(n))


def hardly_read(entry: BenchmarkResult) -> tuple[int, int] | None:
    """(unread answers, answers) where they are too many to go without a word."""
    unread, n, failed = (entry.scores[name] for name in ("unparsed", "n", "failed"))
    if pd.isna(unread) or pd.isna(n):
        return None
    answered = int(n) - (0 if pd.isna(failed) else int(failed))
    return (int(unread), answered) if too_many(int(unread), answered) else None


def departure_note(table: Table, kind: str, setting: str, form: str, words: str) -> Note | None:
    """Which cells were answered with another value of a setting than the task's own."""
    cells: dict[str, dict[str, list[str]]] = {}
    places: set[Place] = set()
    benchmarks, scored = table.benchmarks, table.known
    for row, by_benchmark in table.picked.items():
        for name, entries in by_benchmark.items():
            pairs = {(entry.scores[setting], entry.scores[f"own_{setting}"]) for entry in entries
                     if not pd.isna(entry.scores[setting])}
            shown = {(row, column) for column, behind in benchmarks.items()
                     if name in behind and (row, column) in scored}
            for value, task_value in sorted(pair for pair in pairs if shown and pair[0] != pair[1]):
                difference = f"{value:{form}} instead of {task_value:{form}}"
                cells.setdefault(difference, {}).setdefault(name, []).append(row)
                places |= shown
    texts = []
    for difference, by_name in cells.items():
        every = {name: [row for row in table.rows if name in table.picked[row]] for name in by_name}
        where = [name if rows == every[name] else f"{name} of {', '.join(rows)}" for name, rows in by_name.items()]
        texts.append(f"{difference} ({'; '.join(where)})")
    return Note(kind, f"{words}: {', '.join(texts)}", frozenset(places)) if texts else None


def count_note(table: Table, kind: str, text: str, count: Callable[[BenchmarkResult], tuple[int, int] | None],
               together: Callable[[Sequence[tuple[int, int]]], tuple[int, int]]) -> Note | None:
    """One footnote for all benchmarks that `count` has something on: how many of how many, by row where they differ.

    `together` makes one of the counts of a row's runs; those that have nothing are named by how many they are.
    """
    counts: dict[str, dict[str, tuple[int, int]]] = {}
    part_of_runs: dict[tuple[str, str], str] = {}
    for row, by_benchmark in table.picked.items():
        for benchmark, entries in by_benchmark.items():
            counted = [numbers for numbers in map(count, entries) if numbers is not None]
            if counted:
                counts.setdefault(benchmark, {})[row] = together(counted)
            if 0 < len(counted) < len(entries):
                part_of_runs[benchmark, row] = f" in {len(counted)} of {len(entries)} runs"
    benchmarks = table.benchmarks
    shown = {name for names in benchmarks.values() for name in names}
    counts = {name: by_row for name, by_row in counts.items() if name in shown}
    if not counts:
        return None
    scored = table.known
    places = frozenset((row, column) for column, names in benchmarks.items() for row in table.rows
                       if any(row in counts.get(name, {}) for name in names) and (row, column) in scored)
    ordered = [name for name in table.definition.benchmarks_in_order if name in counts]
    return Note(kind, f"{text}: {'; '.join(details(ordered, counts, table, part_of_runs))}", places)


def details(names: Sequence[str], counts: Mapping[str, Mapping[str, tuple[int, int]]], table: Table,
            part_of_runs: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """`in every row ChartQA 18 of 2,500` for all benchmarks of which every row says the same, then the others."""
    filled = {name: [row for row in table.rows if name in table.picked[row]] for name in names}
    alike = [name for name in names if len(set(counts[name].values())) == 1 and len(counts[name]) == len(filled[name])
             and not any((name, row) in part_of_runs for row in counts[name])]
    if alike:
        where = "in every row " if any(len(filled[name]) > 1 for name in alike) else ""
        yield where + ", ".join(f"{name} {ratio(*next(iter(counts[name].values())))}" for name in alike)
    for name in names:
        if name not in alike:
            rows = [f"{row} {ratio(*pair)}{part_of_runs.get((name, row), '')}" for row, pair in counts[name].items()]
            yield f"{name} ({', '.join(rows)})"


def ratio(part: int, whole: int) -> str:
    """Counts in words; a whole of 0 is unknown."""
    return f"{part:,} of {whole:,}" if whole else f"the first {part:,}"


def average_notes(table: Table) -> Iterator[Note]:
    """Which averages leave out benchmarks, and with which reported average they are compared."""
    texts, places = [], []
    as_taken, as_defined = table.benchmarks, table.definition.benchmarks
    for column in table.columns:
        used, whole = as_taken[column], as_defined[column]
        if column in table.averages and len(used) < len(whole):
            texts.append(f"{column} {len(used)} of {len(whole)} ({left_out_text(used, whole)})")
            places.append((None, column))
    why = "that every row has" if table.options.partial else "that there are"
    if texts:
        yield Note("partial", f"averaged over the benchmarks {why}: {', '.join(texts)}", frozenset(places))
    if table.options.reported is not None:
        yield from reported_notes(table)


def left_out_text(used: Sequence[str], whole: Sequence[str]) -> str:
    """`without BLINK`, or the few that are left."""
    missing = [benchmark for benchmark in whole if benchmark not in used]
    return ", ".join(used) if len(used) <= 3 < len(missing) else f"without {', '.join(missing)}"


def reported_notes(table: Table) -> Iterator[Note]:
    """Reported averages that are over other columns than ours, and those that nobody printed."""
    cells = table.cells[table.cells["column"].isin(set(table.averages))]
    for kind, noted, text in (
        ("recomputed", cells[cells["source"] == RECOMPUTED],
         "the reported average is recomputed from the reported numbers over the same columns as ours"),
        ("incomparable", cells[cells["comparable"].eq(False).fillna(False)],
         "the reported average is over other columns than ours, or nobody outside knows over which: nothing is "
         "subtracted from it"),
    ):
        if len(noted):
            pairs = frozenset(zip(noted["row"], noted["column"], strict=True))
            yield Note(kind, text, pairs)


def unlike_note(table: Table) -> Note | None:
    """Columns whose rows do not rest on the same questions, asked and scored in the same way (`record.comparable`)."""
    texts, places = [], set()
    results = {name: [entry.known for by_benchmark in table.picked.values() for entry in by_benchmark.get(name, ())]
               for name in table.definition.benchmarks_in_order}
    differences = {name: differing(rows) for name, rows in results.items() if len(rows) > 1}
    benchmarks = table.benchmarks
    for name, kinds in differences.items():
        columns = [column for column, behind in benchmarks.items() if name in behind]
        if kinds and columns:
            texts.append(f"{name} ({', '.join(kinds)})")
            places |= {(None, column) for column in columns}
    text = f"the rows are not comparable, they differ in: {', '.join(texts)}"
    return Note("unlike", text, frozenset(places)) if texts else None


def protocol_notes(table: Table) -> Iterator[Note]:
    """Rows that were asked under another protocol than the others, or than they should have been."""
    cells = {row: table.cells_of_rows[row] for row in table.rows}
    for kind, finding in (("protocols", differing_protocols(cells)),
                        ("protocol", off_protocol(cells, table.options.protocol) if table.options.protocol else None)):
        if finding is not None:
            text, rows = finding
            yield Note(kind, text, frozenset((row, None) for row in rows))


def row_notes(table: Table) -> Iterator[Note]:
    """Rows filled by a variant of another name, with other sections, or by the mean of several runs."""
    for row in (row for row in table.definition.rows if row.label in table.rows):
        cells = table.cells_of_rows[row.label]
        place = frozenset({(row.label, None)})
        others = list(dict.fromkeys(cell.variant for cell in cells
                                    if row.variant is not None and cell.variant != row.variant.name))
        if others:
            yield Note("same-design", f"{row.label}: from the run of {', '.join(others)}, the same design", place)
        sections = list(dict.fromkeys(section(cell.recorded) for cell in cells))
        if row.variant is not None and row.variant.frequency.allocation == "heads":
            defined = row.variant.frequency.mrope_section
            for counts in sections:
                if counts and counts != defined:
                    yield Note("heads", f"{row.label}: KV heads dealt {':'.join(map(str, counts))} to time, height and "
                                        f"width ({':'.join(map(str, defined))} in the table's definition)", place)
    for label in table.rows:
        assumed = list(dict.fromkeys(cell.model for cell in table.cells_of_rows[label] if cell.assumed))
        if assumed:
            yield Note("assumed", f"{label}: no config.json says that {', '.join(assumed)} was trained so; it is taken "
                                  "from the model type", frozenset({(label, None)}))
        several = {entry.cell.path.as_posix(): entry.cell.model for column in table.picked[label].values()
                   if len(column) > 1 for entry in column}
        if several:
            models = sorted(set(several.values()))
            named = models if len(models) == len(several) else sorted(several)
            text = f"{label}: mean of {len(several)} runs ({', '.join(named)}){ranges(table, label)}"
            yield Note("mean", text, frozenset({(label, None)}))


def ranges(table: Table, row: str) -> str:
    """From the lowest to the highest training of a row, for its averages, or else for its columns."""
    shown = [column for column in table.columns if column in table.averages] or list(table.columns)
    by_column = {column: table.totals(row, column) for column in shown}
    texts = [f"{column} {min(totals):.2f} to {max(totals):.2f}"
             for column, totals in by_column.items() if len(totals) > 1]
    return f", from the lowest to the highest training {', '.join(texts)}" if texts else ""


def time_notes(table: Table) -> Iterator[Note]:
    """Rows filled by runs that place a video's frames otherwise in time than the row's definition."""
    words = {"index": "counted (time: index)", "seconds": "as far apart as the clock says (time: seconds)"}
    for time, defined in (("seconds", "index"), ("index", "seconds")):
        rows = [row.label for row in table.definition.rows
                if row.label in table.rows and time_of(row.variant) == defined and counts_in(table, row.label, time)]
        if rows:
            yield Note("time", f"frames of videos {words[time]}, in the table's definition {words[defined]}: "
                               f"{', '.join(rows)}", frozenset((row, None) for row in rows))  # fmt: skip


def counts_in(table: Table, row: str, time: str) -> bool:
    """Whether frames of a row's videos went by this `time`, in any column that shows some; a benchmark is taken to show
    videos where no sample says what its medium was."""
    entries = [entry for column in table.picked[row].values() for entry in column if time_of(entry.variant) == time]
    return any(next((media.medium for sample in entry.cell.record.samples(str(entry.scores["task"]))
                     for media in sample.media), None) != "image" for entry in entries)


def section(variant: Variant | None) -> tuple[int, ...]:
    """The mrope_section of a run's variant; empty where it has none that can be read."""
    return () if variant is None else tuple(getattr(variant.frequency, "mrope_section", None) or ())


def time_of(variant: Variant | None) -> str | None:
    """What a variant counts frames in; None where it knows no frames, or is not known."""
    return None if variant is None else getattr(variant.position, "time", None)


def remarks(table: Table) -> list[str]:
    """What is true of the whole table: how to read a cell, what is unknown, what was left out."""
    definition, options = table.definition, table.options
    parts = ["per cent of attention" if definition.takes == "attention" else "score, 0 to 100"]
    if table.baseline is not None:
        parts.append(f"(difference from {table.baseline})")
    if options.level is not None:
        over = ("over other questions and, in rows of several trainings, over other trainings" if table.several else
                "over other questions, not over other trainings")
        parts.append(f"[{100 * options.level:g} % interval {over}]")
    if options.reported is not None:
        parts.append("/ reported (ours minus reported)")
    across = "column" if definition.layout == "across" else "line"
    sentences = [f"A cell: {' '.join(parts)}."]
    if table.cells["rank"].notna().any() and definition.takes == "attention":
        sentences.append(f"Bold is most in its {across}, underlined second.")
    elif table.cells["rank"].notna().any():
        sentences.append(f"Bold is best in its {across}, underlined second; what looks equal ties. Neither says that a "
                     "difference is more than chance: see mmrope-eval compare.")
    if definition.takes != "attention" and options.step != "all":
        sentences += rows_of_one({row: table.cells_of_rows[row] for row in table.rows})
    if table.cells["score"].isna().any():
        scored = table.known
        missing = [column for column in table.columns if column in definition.averages
                   and any((row, column) not in scored for row in table.rows if table.picked[row])]
        hint = "" if options.partial else " (--partial averages those that every row has)"
        lacking = f", or not every benchmark of the average{hint}" if missing else ""
        sentences.append(f"—: unknown; no run given here has it{lacking}.")
    if options.chance:
        sentences.append("chance: the expected score of guessing among the options that are offered; "
                     "0 where answers are free, — where it is not known.")
    alone = table.cells[table.cells["score"].notna() & table.cells["low"].isna()]
    if options.level is not None and len(alone):
        names = ", ".join(f"{column} of {row}" for row, column in zip(alone["row"], alone["column"], strict=True))
        sentences.append(f"No interval, as one benchmark behind it asks about a single picture or video: {names}.")
    if options.reported is not None:
        sentences.append(reported_words(table, options.reported))
    if options.protocol is not None:
        sentences.append(f"Protocol {options.protocol.name}: {options.protocol.title} ({options.protocol.source}).")
    return [*sentences, *table.extra_remarks, *remarks_on_absent(table)]


def remarks_on_absent(table: Table) -> Iterator[str]:
    """Which rows, columns and variants are not shown."""
    if table.hidden:
        hint = " (--all shows them)" if table.options.trim else ""
        yield f"Not shown, as no run fills them: {', '.join(table.hidden)}{hint}."
    if table.baseline is not None and table.baseline not in table.rows:
        yield f"No difference from {table.baseline}, which no run fills."
    if table.left_out:
        variants = ", ".join(table.left_out)
        yield f"Not a row of this table, though among the runs: {variants} (--all adds them)."


def reported_words(table: Table, published: Published) -> str:
    """Where the reported numbers are from, and what a difference from them may come from."""
    used = sorted({str(source) for source in table.cells["source"].dropna()})
    listed = "; ".join(f"{letter} = {published.sources[letter]}" for letter in used)
    published_table = published.tables.get(table.definition.name)
    place = "" if published_table is None or published_table.number is None else f", table {published_table.number}"
    of = f" of {published_table.model}" if published_table and published_table.model else ""
    return (f"Reported: {published.paper}{place}{of} ({listed or 'no cell of this table'}); its authors trained their "
            "own models, so differences from it come from the checkpoints as well.")
