"""The outcome of a check as JUnit XML: one test suite, one test case a cell."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from mmrope_eval.report.compare.outcome import Outcome, remarks
from mmrope_eval.report.compare.verdict import OPEN, WORDS

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(found: Outcome) -> str:
    """The XML: worse cells are failures (missing ones too with --require-all); skipped are cells that cannot be told,
    other missing ones and new ones. Averages that were not tested are no cases."""
    failing = set(found.failing)
    cases = [one for one in found.verdicts if one.state != "untested"]
    skipped = [one for one in cases if one.state in (*OPEN, "missing", "new") and one not in failing]
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(root, "testsuite", {
        "name": "mmrope-eval check", "tests": str(len(cases)), "failures": str(len(failing)), "errors": "0",
        "skipped": str(len(skipped)), "time": "0",
    })
    properties = ElementTree.SubElement(suite, "properties")
    rules = found.rules
    for name, value in (("run", found.run), ("against", found.against), ("tolerance", rules.tolerance),
                        ("margin", rules.within(True)), ("margin_columns", rules.within(False)),
                        ("alpha", rules.alpha), ("seed", rules.seed)):
        ElementTree.SubElement(properties, "property", {"name": name, "value": legal(str(value))})
    for one in cases:
        case = ElementTree.SubElement(suite, "testcase", {
            "classname": legal(f"mmrope-eval.{one.cell}"), "name": legal(one.column), "time": "0",
        })
        if one in failing:
            body = ElementTree.SubElement(case, "failure", {"message": legal(one.sentence), "type": one.state})
            body.text = legal(found.rule)
        elif one in skipped:
            ElementTree.SubElement(case, "skipped", {"message": legal(f"{WORDS[one.state]}: {one.sentence}")})
        else:
            ElementTree.SubElement(case, "system-out").text = legal(f"{one.sentence} {one.basis}.")
    said = (found.headline, found.rule, *remarks(found), *found.notes)
    ElementTree.SubElement(suite, "system-out").text = legal("\n".join(said))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def legal(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return _FORBIDDEN.sub("\ufffd", text)
