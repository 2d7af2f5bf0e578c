"""An image's bytes are hashed once on their way; a file's content each time, as it may be another one by then."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmrope_eval.media.image import fingerprint, load_image
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.messages import ImageSource
from mmrope_eval.models.families import DEFAULT_FAMILY
from mmrope_eval.task.parts import content_of

GEOMETRY = DEFAULT_FAMILY.published


def encoded(color: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (56, 56), color).save(out, "PNG")
    return out.getvalue()


def test_the_bytes_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data, real, hashed = encoded("red"), hashlib.sha256, []

    def counting(content: bytes = b"", **options: Any) -> Any:
        hashed.append(content)
        return real(content, **options)

    monkeypatch.setattr(hashlib, "sha256", counting)
    source = ImageSource(data)
    told = fingerprint(source, MediaPolicy(), GEOMETRY)
    assert content_of(source) == real(data).hexdigest()
    sent = pickle.loads(pickle.dumps(source))
    assert load_image(sent, MediaPolicy(), GEOMETRY).facts.fingerprint == told
    assert hashed.count(data) == 1


def test_a_file_that_changed_has_another_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    source, fingerprints = ImageSource(path), []
    for color in ("red", "blue"):
        path.write_bytes(encoded(color))
        fingerprints.append(fingerprint(source, MediaPolicy(), GEOMETRY))
        assert fingerprints[-1] == fingerprint(ImageSource(encoded(color)), MediaPolicy(), GEOMETRY)
        assert load_image(source, MediaPolicy(), GEOMETRY).facts.fingerprint == fingerprints[-1]
    assert fingerprints[0] != fingerprints[1]


def test_the_hash_is_no_part_of_what_a_source_is() -> None:
    first, second = ImageSource(b"x"), ImageSource(b"x")
    assert first.digest and first == second and hash(first) == hash(second) and repr(first) == repr(second)
