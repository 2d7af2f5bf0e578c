"""Draw a command's output as the picture of a terminal.

    mmrope-eval demo | python scripts/terminal_svg.py --title 'make demo' --out docs/images/demo.svg

The text is taken as it comes from standard input; nothing is added but the window around it.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import textwrap
from pathlib import Path

from rich.console import Console
from rich.text import Text


def main() -> int:
    """Write the picture; 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--title", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--columns", type=int, default=200, help="of the terminal; longer lines go on below")
    args = parser.parse_args()
    text = sys.stdin.read().strip("\n")
    wrap = textwrap.TextWrapper(args.columns, drop_whitespace=False)
    lines = [part for line in text.split("\n") for part in wrap.wrap(line) or [""]]
    console = Console(record=True, width=max(map(len, lines)) + 1, file=io.StringIO())
    console.print(Text("\n".join(lines), no_wrap=True))
    svg = console.export_svg(title=args.title)
    # The picture must not fetch fonts from anywhere: whoever reads it has a monospaced one.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code", "ui-monospace, Menlo, Consolas")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(svg, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
