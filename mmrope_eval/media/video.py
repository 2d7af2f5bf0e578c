"""Videos: which frames, at which times, in how many tokens; and what to tell the processors so that they agree.

**Time.** Frames are known by the presentation timestamps in the file, never by a frame rate. Zero is the first frame of
the video; a cut video counts from its start. What transformers' and vLLM's processors tell the model is derived from
`metadata`: Qwen2.5-VL's seconds per grid from len(frames_indices) / total_num_frames * fps, Qwen3-VL's printed times
from frames_indices / fps. Neither formula survives a variable frame rate or a cut if fed with frame numbers, so
`metadata` counts in ticks of a 90 kHz clock instead: `fps` is 90000, `frames_indices` are the frames' times in ticks,
`total_num_frames` is what makes the first formula give the mean distance between the frames used. The true frame
numbers and rate are in `facts`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmrope_eval.errors import UserError
from mmrope_eval.media.cache import MediaCache
from mmrope_eval.media.policy import MEDIA_VERSION, MediaError, MediaPolicy, spend_budget
from mmrope_eval.media.sources import require_regular
from mmrope_eval.messages import MediaFacts, VideoSource
from mmrope_eval.models.files import FileHashes

if TYPE_CHECKING:
    from mmrope_eval.media.frames import FrameIndex
    from mmrope_eval.models.family import VisionGeometry

CLOCK = 90_000
"""Ticks per second in `metadata`: MPEG's own clock, in which every common frame interval is a whole number."""

_EPSILON = 1e-6  # seconds; far below any frame interval, far above float64 rounding of hours


@dataclass(frozen=True)
class LoadedVideo:
    """`frames` is uint8 (T, height, width, 3) RGB at the size the vision encoder takes, T a whole number of temporal
    patches; `metadata` goes to vLLM or transformers with it, as `(frames, metadata)`."""

    frames: NDArray[np.uint8]
    metadata: dict[str, Any]
    facts: MediaFacts

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return self.frames.nbytes


@dataclass(frozen=True)
class Selection:
    """Frames chosen from a span: positions in the index, their seconds from the span's start, what was given up."""

    positions: NDArray[np.int64]
    times: NDArray[np.float64]
    duration: float
    notes: tuple[str, ...]


def load_video(source: VideoSource, policy: MediaPolicy, geometry: VisionGeometry,
               cache: MediaCache | None = None) -> LoadedVideo:
    """Decode the frames that `policy` asks for, from `cache` if they are there.

    Raises MediaError for a missing, unreadable, empty, truncated or damaged video, and for a span outside it.
    """
    fingerprint = video_fingerprint(source, policy, geometry)
    stored = cache.get(fingerprint) if cache else None
    if stored:
        frames, header = stored
        told: dict[str, Any] = header["facts"]
        told = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
        return LoadedVideo(frames, header["metadata"], MediaFacts(**told))
    video = _decode(source, policy, geometry, fingerprint)
    if cache:
        cache.put(fingerprint, video.frames, {"metadata": video.metadata, "facts": dataclasses.asdict(video.facts)})
    return video


def video_fingerprint(source: VideoSource, policy: MediaPolicy, geometry: VisionGeometry) -> str:
    """sha256 over a video's content, its span and all that decides what becomes of it. Raises MediaError."""
    require_regular(source.path, "video")
    try:
        content = FileHashes().of(source.path)  # one memory for planning and preparing, with a cache of frames or not
    except UserError as error:
        raise MediaError(f"{source.path}: the video cannot be read ({error}).") from error
    key = [
        MEDIA_VERSION, "video", content, policy.video_key(), geometry.patch_size, geometry.merge_size,
        geometry.temporal_patch_size, source.start, source.end,
    ]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()


def _decode(source: VideoSource, policy: MediaPolicy, geometry: VisionGeometry, fingerprint: str) -> LoadedVideo:
    from mmrope_eval.media.frames import IndexMismatchError, index_by_decoding, index_frames

    try:
        return _assemble(source, policy, geometry, fingerprint, index_frames(source.path, policy.decode_max_pixels))
    except IndexMismatchError:
        # The container announced frames that the decoder does not show: ask the decoder itself, at the cost of a pass.
        index = index_by_decoding(source.path, policy.decode_max_pixels)
    try:
        return _assemble(source, policy, geometry, fingerprint, index)
    except IndexMismatchError as error:
        raise MediaError(f"{source.path}: {error}.") from error


def _assemble(source: VideoSource, policy: MediaPolicy, geometry: VisionGeometry, fingerprint: str,
              index: FrameIndex) -> LoadedVideo:
    from mmrope_eval.media.frames import read_frames

    try:
        chosen = select_frames(source, policy, geometry, index)
        plan = spend_budget(len(chosen.positions), index.size, policy, geometry)
    except ValueError as error:
        raise MediaError(f"{source.path}: {error}.") from error
    patch = geometry.temporal_patch_size
    positions, times = fill_patches(chosen, patch)
    padding = len(positions) - len(chosen.positions)
    frames = read_frames(source.path, index, chosen.positions, plan.size, padding)
    metadata, seconds_per_grid = clock_metadata(times, len(chosen.times), chosen.duration, patch)
    grid = (len(frames) // patch, plan.size[1] // geometry.patch_size, plan.size[0] // geometry.patch_size)
    lost = _loss_notes(index, chosen, plan.size, plan.tokens, padding, policy)
    facts = MediaFacts(kind="video", fingerprint=fingerprint, source_size=index.size, used_size=plan.size,
                       grid_thw=grid, tokens=plan.tokens, source_frames=len(index.pts), source_fps=index.fps,
                       duration=chosen.duration, frame_indices=tuple(positions.tolist()),
                       timestamps=tuple(times.tolist()), seconds_per_grid=seconds_per_grid,
                       notes=(*index.notes, *chosen.notes, *lost))  # fmt: skip
    return LoadedVideo(frames, metadata, facts)


def fill_patches(chosen: Selection, temporal_patch_size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions and times of a selection with its last frame repeated until the frames fill whole temporal patches."""
    padding = -len(chosen.positions) % temporal_patch_size
    positions = np.append(chosen.positions, np.repeat(chosen.positions[-1:], padding))
    return positions, np.append(chosen.times, np.repeat(chosen.times[-1:], padding))


def _loss_notes(index: FrameIndex, chosen: Selection, size: tuple[int, int], tokens: int, padding: int,
                policy: MediaPolicy) -> list[str]:
    notes = []
    if size != index.size:
        notes.append(f"resized {index.size[0]}x{index.size[1]} -> {size[0]}x{size[1]} ({tokens} of "
                     f"{policy.video_max_tokens} tokens spent)")
    if padding:
        notes.append(f"last frame repeated {padding} time(s): {len(chosen.positions)} frames do not fill the last "
                     "temporal patch")
    if len(chosen.times) > 2:
        even = np.linspace(chosen.times[0], chosen.times[-1], len(chosen.times))
        off = float(np.abs(even - chosen.times).max())
        if off > (even[1] - even[0]) / 2:
            notes.append(f"frame times are uneven: seconds_per_grid is their mean, off by up to {off:.3f} s")
    return notes


def clock_metadata(times: NDArray[np.float64], distinct: int, duration: float,
                   temporal_patch_size: int) -> tuple[dict[str, Any], float]:
    """(metadata, seconds_per_grid) for frames shown at `times` seconds, of which the first `distinct` are not padding.

    `seconds_per_grid` is computed from the metadata in the processors' own order of operations, so it equals theirs.
    """
    interval = (times[-1] - times[0]) / (distinct - 1) if distinct > 1 else duration
    total = max(1, round(len(times) * interval * CLOCK))
    metadata = {
        "fps": float(CLOCK), "total_num_frames": total, "duration": duration,
        "frames_indices": [round(time * CLOCK) for time in times.tolist()], "video_backend": "pyav",
        "do_sample_frames": False,
    }
    return metadata, temporal_patch_size / (len(times) / total * CLOCK)


def select_frames(source: VideoSource, policy: MediaPolicy, geometry: VisionGeometry, index: FrameIndex) -> Selection:
    """Choose frames of the span [start, end): by rate or by count.

    By rate: at k / fps seconds, duration * fps of them, rounded. By count: evenly from the first frame to the last.
    Each target takes the frame nearest to it in time, the earlier of two; no frame is taken twice. A rate that the
    frame limits or the token budget do not allow turns into a count. A span between two frames, an instant among them,
    has the frame nearest to its middle. Raises ValueError for a span that ends before it starts, or lies outside.
    """
    start, first, times, notes = _span(source, index)
    duration = (min(source.end, index.duration) if source.end is not None else index.duration) - start
    duration = max(duration, 0.0) or 1 / index.fps  # an instant is shown for as long as a frame
    if policy.video_frames is None:
        target = max(1, math.floor(duration * policy.video_fps + 0.5))
        count = min(max(target, policy.video_min_frames), policy.video_max_frames, len(times))
    else:
        target = policy.video_frames
        count = min(target, len(times))
    count = min(count, spend_budget(count, index.size, policy, geometry).frames)
    if policy.video_frames is None and count == target:
        targets = np.arange(count) / policy.video_fps
    else:
        targets = np.linspace(times[0], times[-1], count)
    nearest = np.arange(count) if count == len(times) else _nearest(times, targets)
    asked = f"{policy.video_fps:g} per second" if policy.video_frames is None else f"{target} frames"
    if len(nearest) < len(times) or len(nearest) < target:
        notes.append(f"{len(nearest)} of {len(times)} frames used ({asked} asked for)")
    if len(nearest) < target:
        why = _shortfall(target, count, len(nearest), len(times), policy)
        notes.append(f"{target} frames asked for, {len(nearest)} used: {why}")
    return Selection(first + nearest, times[nearest], duration, tuple(notes))


def _shortfall(target: int, count: int, used: int, available: int, policy: MediaPolicy) -> str:
    if used < count:
        return "several fall on the same frame"
    if count == available:
        return "the span has no more"
    if policy.video_frames is None and count == min(target, policy.video_max_frames):
        return f"video_max_frames is {policy.video_max_frames}"
    return f"the budget of {policy.video_max_tokens} tokens buys no more"


def _span(source: VideoSource, index: FrameIndex) -> tuple[float, int, NDArray[np.float64], list[str]]:
    """The span's start, the position of its first frame, its frames' times from that start, notes."""
    start = source.start or 0.0
    end = math.inf if source.end is None else source.end
    if not (0 <= start <= end):
        raise ValueError(f"the span from {start:g} s to {end:g} s is empty; start must be 0 or more and not above end")
    if index.truncated and end > index.duration - _EPSILON:
        raise ValueError(f"the file is cut off: {index.truncated}, and frames after that are asked for")
    until = "the end" if source.end is None else f"{end:g} s"
    if start > index.duration - _EPSILON:
        raise ValueError(f"no frame lies between {start:g} s and {until}; the video lasts {index.duration:g} s")
    notes = []
    first, last = np.searchsorted(index.times, [start - _EPSILON, end - _EPSILON]).tolist()
    if first >= last:
        middle = (start + min(end, index.duration)) / 2
        first = int(_nearest(index.times, np.array([middle]))[0])
        last = first + 1
        instant, between = f"the span is an instant, {start:g} s", f"no frame begins between {start:g} s and {until}"
        at = f"{index.times[first]:.3f}".rstrip("0").rstrip(".")
        notes.append(f"{instant if start == end else between}: the nearest is used, at {at} s")
    if source.end is not None and end > index.duration + 0.5 / index.fps:
        notes.append(f"span asked for up to {end:g} s, the video ends at {index.duration:g} s")
    return start, first, np.maximum(index.times[first:last] - start, 0.0), notes


def _nearest(times: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions of the ascending `times` nearest to each target, ties to the earlier, each once."""
    after = np.clip(np.searchsorted(times, targets), 1, max(1, len(times) - 1))
    before = after - 1
    after = np.minimum(after, len(times) - 1)
    closer_after = times[after] - targets < targets - times[before] - _EPSILON
    return np.unique(np.where(closer_after, after, before)).astype(np.int64)
