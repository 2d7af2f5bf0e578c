"""What preparing costs the second row over the same data: another variant, other weights.

    python benchmarks/second_row.py [--count 64]

Time: about a minute and a half on two shared cores.

Processor time of preparing (media, template, processor, positions) a question, in one thread, for pictures of two sizes
and a video of 64 frames from the cache of decoded frames: of the first row, and of a second with another variant, with
and without the memory of prepared prompts (`engine/prepare.py`).
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=64, help="questions of each kind (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(tabulate(measure(Path(temporary), args.count), tablefmt="github", floatfmt=".2f", headers=[
            "question about", "first row, ms", "second row, nothing kept, ms", "second row, ms", "share"]))  # fmt: skip
    return 0


def measure(scratch: Path, count: int) -> list[list[Any]]:
    """A line for each kind of question."""
    from mmrope_demo.checkpoints import build_checkpoint
    from mmrope_eval.engine.live import LiveEngine
    from mmrope_eval.engine.options import EngineOptions
    from mmrope_eval.media.image import MediaPolicy
    from mmrope_eval.models.checkpoint import read_checkpoint
    from mmrope_eval.rope import load_variant

    checkpoint = read_checkpoint(build_checkpoint("qwen2.5-vl", scratch / "checkpoint"))
    options = EngineOptions(max_model_len=8192, media_cache_dir=scratch / "frames",
                            policy=MediaPolicy(image_max_pixels=640 * 480 + 40 * 28 * 28, video_max_tokens=4096))
    rows = []
    with LiveEngine.start(checkpoint, load_variant("mrope"), options) as engine:
        for name, asked in questions(scratch, count).items():
            seconds = []
            for variant, forget in (("mrope", True), ("mrope-i", True), ("mrope", False)):
                if forget:
                    engine._reuse._kept.clear()
                    engine._reuse._held = 0
                engine.switch(variant=load_variant(variant))
                began = time.thread_time()
                for request in asked:
                    prepared: Any = engine._preparer.prepare(request)
                    assert prepared.key, prepared
                seconds.append(1000 * (time.thread_time() - began) / len(asked))
            rows.append([name, *seconds, f"{seconds[2] / seconds[0]:.0%}"])
    return rows


def questions(scratch: Path, count: int) -> dict[str, list[Any]]:
    """Questions by what they show."""
    import numpy as np
    import suite_mirror
    from PIL import Image

    from mmrope_eval.messages import Generation, ImageSource, Request, VideoSource

    def picture(number: int, size: tuple[int, int]) -> ImageSource:
        pixels = np.random.default_rng(number).integers(0, 256, (size[1] // 16, size[0] // 16, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(buffer, "JPEG")
        return ImageSource(buffer.getvalue())

    def ask(number: int, shown: Any) -> Request:
        return Request(str(number), (shown, f"What is the value of bar {number}?"), Generation(8))

    video = scratch / "clip.mp4"
    suite_mirror.write_video(video, frames=64)
    return {
        "a picture of 112x112": [ask(n, picture(n, (112, 112))) for n in range(count)],
        "a picture of 640x480": [ask(n, picture(n, (640, 480))) for n in range(count)],
        "a video": [ask(n, VideoSource(video, 0.0, 1.0 + n / count)) for n in range(max(2, count // 8))],
    }


if __name__ == "__main__":
    sys.exit(main())
