"""The outcome of a check as JUnit XML: one test suite, one test case a cell."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from mmrope_eval.report.outcome import Outcome

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(found: Outcome) -> str:
    """The XML: worse cells are failures (missing ones too with --require-all), other missing and new ones skipped."""
    failing = set(found.failing)
    skipped = [one for one in found.verdicts if one.state in ("missing", "new") and one not in failing]
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(root, "testsuite", {
        "name": "mmrope-eval check", "tests": str(len(found.verdicts)), "failures": str(len(failing)), "errors": "0",
        "skipped": str(len(skipped)), "time": "0",
    })
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("run", found.run), ("against", found.against), ("tolerance", found.tolerance),
                        ("alpha", found.alpha), ("seed", found.seed)):
        ElementTree.SubElement(properties, "property", {"name": name, "value": legal(str(value))})
    for one in found.verdicts:
        case = ElementTree.SubElement(suite, "testcase", {
            "classname": legal(f"mmrope-eval.{one.cell}"), "name": legal(one.column), "time": "0",
        })
        if one in failing:
            body = ElementTree.SubElement(case, "failure", {"message": legal(one.sentence), "type": one.state})
            body.text = legal(found.rule)
        elif one in skipped:
            ElementTree.SubElement(case, "skipped", {"message": legal(one.sentence)})
        else:
            ElementTree.SubElement(case, "system-out").text = legal(f"{one.sentence} {one.basis}.")
    ElementTree.SubElement(suite, "system-out").text = legal("\n".join((found.headline, found.rule, *found.notes)))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def legal(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return _FORBIDDEN.sub("\ufffd", text)
