"""The miniature mirror: every column's samples in its data set's own files, laid out as `hf download` leaves them."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from mmrope_synth.clips import Clip
from mmrope_synth.columns import COLUMNS, DRAWN
from mmrope_synth.core import WORLD_VERSION, Difficulty, Pixels, generator
from mmrope_synth.errors import SynthError
from mmrope_synth.fields import arrow_schema
from mmrope_synth.longform import subtitles
from mmrope_synth.sample import Sample
from mmrope_synth.schemas import TABLES, Table, video_path
from mmrope_synth.shows import MVBENCH

MANIFEST: Final = "world.json"
LAYOUT_VERSION: Final = 3
"""Raised when files lie elsewhere than before, or there are more, with the same content: STAR has its four
configurations from 2 on, BLINK and MMBench's Chinese part are there from 3 on."""

SUBTITLED: Final = 4
"""Of five VideoMME videos, how many have subtitles; in the real data set 744 of 900 have."""


def build_world(
    out: Path,
    *,
    n: int = 64,
    seed: int = 0,
    columns: Sequence[str] | None = None,
    difficulty: Difficulty | None = None,
) -> Path:
    """Write the miniature benchmarks into `out`, with `n` rows a column, and return `out`.

    The layout is that of a mirror: `out/ORGANISATION/NAME/...`, which `--data-root out` reads. A row is what the data
    set counts: an object with all its expressions in RefCOCO, a question elsewhere. MVBench has `n` rows over its 20
    sub-tasks, BLINK over its 14 and STAR over its four types, and at least one each. With MMBench's English part comes
    its Chinese one, which no suite asks for. `world.json` says what was written. The same arguments give the same
    bytes.
    Raises SynthError for an unknown column, for n < 1 and for a folder that holds something else.
    """
    names = tuple(columns or COLUMNS)
    unknown = [name for name in names if name not in DRAWN]
    if unknown:
        raise SynthError(f"The miniature world has no column '{unknown[0]}'; it has: {', '.join(DRAWN)}.")
    if n < 1:
        raise SynthError(f"The miniature world needs at least one row a column, not {n}.")
    difficulty = difficulty or Difficulty()
    datasets = list(dict.fromkeys(TABLES[name].dataset for name in names))
    _make_room(out, datasets)
    manifest = out / MANIFEST
    written: dict[str, Any] = json.loads(manifest.read_text())["columns"] if manifest.is_file() else {}
    for dataset in datasets:
        columns_of = [name for name in DRAWN if TABLES[name].dataset == dataset]
        for name in columns_of:
            rows = _write_column(out, name, n, seed, difficulty)
            table = TABLES[name]
            where = {"dataset": dataset, "config": table.config, "split": table.split}
            written[name] = {**where, "rows": rows, "seed": seed, "difficulty": asdict(difficulty)}
        write_card(out / dataset, [TABLES[name] for name in columns_of])
    about = {"world": WORLD_VERSION, "columns": {name: written[name] for name in DRAWN if name in written}}
    manifest.write_text(json.dumps(about, indent=2) + "\n")
    return out


def _make_room(out: Path, datasets: Sequence[str]) -> None:
    """Remove the data sets of an earlier miniature that are about to be written; touch nothing else."""
    if out.exists() and not out.is_dir():
        raise SynthError(f"{out} is a file; name a folder for the miniature world.")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise SynthError(f"{out} holds something other than a miniature world; name a new or an empty folder.")
    for dataset in datasets:
        # Videos that another data set keeps here stay: their names are not those of this one's.
        lent = [t.video_folder for t in TABLES.values() if t.video_dataset == dataset]
        for path in sorted((out / dataset).glob("*")):
            if path.is_dir() and path.name not in lent:
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()
    out.mkdir(parents=True, exist_ok=True)


def eval_samples(column: str, seed: int, difficulty: Difficulty) -> Iterator[list[Sample]]:
    """The evaluation samples of a column without end, grouped by picture or video."""
    serial = 0
    while True:
        yield DRAWN[column](generator(seed, "eval", column, serial), difficulty, "eval", serial)
        serial += 1


def _write_column(out: Path, column: str, n: int, seed: int, difficulty: Difficulty) -> int:
    table = TABLES[column]
    folder = out / table.dataset
    wanted = max(n, len(MVBENCH) if column == "mvbench" else len(table.configs))
    rows: list[tuple[str, dict[str, Any]]] = []
    for serial, samples in enumerate(eval_samples(column, seed, difficulty)):
        first = samples[0]
        if first.clip is not None:
            write_video(out / video_path(column, first), first.clip)
            if column == "videomme" and serial % 5 < SUBTITLED:
                path = folder / "subtitle" / f"{first.row['videoID']}.srt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(subtitles(first.clip))
        rows += [(sample.kind, row(table, sample)) for sample in distinct_rows(samples)]
        if len(rows) >= wanted:
            break
    del rows[wanted:]
    if column == "mvbench":
        for name in MVBENCH:
            _write_json(folder / "json" / f"{name}.json", [fields for kind, fields in rows if kind == name])
    for kind, config in table.configs.items():
        write_parquet(folder / config / Path(table.path).name, table, [fields for k, fields in rows if k == kind])
    if column != "mvbench" and not table.configs:
        write_parquet(folder / table.path, table, [fields for _, fields in rows])
    return len(rows)


def distinct_rows(samples: Sequence[Sample]) -> list[Sample]:
    """One sample a data set row: RefCOCO holds the expressions of an object in one row."""
    firsts: dict[Any, Sample] = {}
    for i, sample in enumerate(samples):
        key = sample.row["question_id"] if "expression" in sample.row else i
        firsts.setdefault(key, sample)
    return list(firsts.values())


def row(table: Table, sample: Sample) -> dict[str, Any]:
    """All fields of a data set row, pictures as the bytes of a file."""
    fields: dict[str, Any] = {}
    for name, kind in table.fields.items():
        if kind == "image":
            picture = sample.images.get(name)
            fields[name] = None if picture is None else _encoded(picture, table.jpeg, f"{sample.group}-{name}")
        else:
            fields[name] = sample.row[name]
    return fields


def _encoded(picture: Pixels, jpeg: bool, name: str) -> dict[str, Any]:
    from PIL import Image

    buffer = io.BytesIO()
    if jpeg:
        Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        Image.fromarray(picture).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": f"{name.replace('/', '-')}.{'jpg' if jpeg else 'png'}"}


def write_parquet(path: Path, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=arrow_schema(table.fields)), path)


def _write_json(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(rows), indent=1) + "\n")


def write_video(path: Path, clip: Clip) -> None:
    """An MPEG-4 part 2 video in an mp4 file, with the clip's own presentation times."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    uneven = any(abs(time - i / clip.fps) > 1e-6 for i, time in enumerate(clip.times))
    tick = Fraction(1, 1000) if uneven else Fraction(1, round(clip.fps))
    options = {"qmin": "2", "qmax": "2", "g": "12", "flags": "+bitexact"}
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=round(clip.fps), options=options)
        stream.width = stream.height = clip.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = tick
        stream.codec_context.thread_count = 1
        for i, time in enumerate(clip.times):
            frame = av.VideoFrame.from_ndarray(clip.frame(i), format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_card(folder: Path, tables: Sequence[Table]) -> None:
    """README.md with the configurations in its head, by which `datasets` finds the files.

    `datasets` names its cache of a local folder after these configurations alone, so that another world with the same
    ones would be answered from the first one's cache. A hash of the files in `description` keeps them apart.
    """
    configs: dict[str, list[tuple[str, str]]] = {}
    for table in tables:
        if table.folder == "json":
            configs |= {name: [(table.split, f"json/{name}.json")] for name in MVBENCH}
        elif table.configs:
            configs |= {name: [(table.split, f"{name}/{Path(table.path).name}")] for name in table.configs.values()}
        else:
            configs.setdefault(table.config, []).append((table.split, table.path))
    lines = ["---", "configs:"]
    for name, files in configs.items():
        digest = sha256(b"".join(sha256((folder / path).read_bytes()).digest() for _, path in files)).hexdigest()
        lines += [f"- config_name: {name}", f"  description: miniature {digest}", "  data_files:"]
        for split, path in files:
            lines += [f"  - split: {split}", f"    path: {path}"]
    lines += ["---", "", "A generated miniature with the fields of the data set of this name; none of its content.", ""]
    (folder / "README.md").write_text("\n".join(lines))
