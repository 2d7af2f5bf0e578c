"""Say which answer version this tree is, or declare it (docs/same-answer.md).

    python scripts/answer_version.py                                        # what this tree is
    python scripts/answer_version.py --same-as 0.3.0 "what was changed"      # its answers are those of 0.3.0
    python scripts/answer_version.py --new 0.4.0 "what was changed"          # its answers are others

Declaring appends one line to mmrope_eval/store/answer_versions.txt. Kept answers of the version named are then used
again; under a new version everything is asked again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main(argv: list[str] | None = None) -> int:
    """Exit code 1 when the tree is not declared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--same-as", metavar="VERSION", help="an answer version that the register has")
    choice.add_argument("--new", metavar="VERSION", help="an answer version that it does not have yet")
    parser.add_argument("what", nargs="?", help="what was changed, in a few words")
    parser.add_argument("--package", type=Path, default=ROOT / "mmrope_eval", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)

    from mmrope_eval.store.answer_code import REGISTER, Declared, parse_register, read_code

    register = args.package / "store" / REGISTER
    code = read_code(args.package)
    versions = {entry.version for entry in parse_register(register.read_text(encoding="utf-8"))}
    if code.declared:
        print(f"this tree's answers are those of version {code.version}")
        return 0
    wanted = args.same_as or args.new
    if wanted is None:
        print(f"this tree is not declared; its answers stand on their own as {code.version}")
        return 1
    if args.what is None:
        parser.error("say in a few words what was changed")
    if (args.same_as is None) == (wanted in versions):
        state = "taken" if args.new else "unknown"
        parser.error(f"{wanted} is {state}; the register has {', '.join(sorted(versions))}")
    with register.open("a", encoding="utf-8") as file:
        file.write(Declared(wanted, code.rooms).register_line(args.what) + "\n")
    print(f"declared: this tree's answers are those of version {wanted}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
