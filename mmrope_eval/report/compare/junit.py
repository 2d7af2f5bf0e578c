"""The outcome of a check as JUnit XML: one test suite, one test case a cell."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from mmrope_eval.report.compare.outcome import Outcome, remarks
from mmrope_eval.report.compare.verdict import OPEN, WORDS

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(outcome: Outcome) -> str:
    """The XML: worse cells are failures (missing ones too with --require-all); skipped are cells that cannot be told,
    other missing ones and new ones. Averages that were not tested are no cases."""
    failing = set(outcome.failing)
    cases = [verdict for verdict in outcome.verdicts if verdict.state != "untested"]
    skipped = [verdict for verdict in cases if verdict.state in (*OPEN, "missing", "new") and verdict not in failing]
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(root, "testsuite", {
        "name": "mmrope-eval check", "tests": str(len(cases)), "failures": str(len(failing)), "errors": "0",
        "skipped": str(len(skipped)), "time": "0",
    })
    properties = ElementTree.SubElement(suite, "properties")
    rules = outcome.rules
    for name, value in (("run", outcome.run), ("against", outcome.against), ("tolerance", rules.tolerance),
                        ("margin", rules.within(True)), ("margin_columns", rules.within(False)),
                        ("alpha", rules.alpha), ("seed", rules.seed)):
        ElementTree.SubElement(properties, "property", {"name": name, "value": legal(str(value))})
    for verdict in cases:
        element = ElementTree.SubElement(suite, "testcase", {
            "classname": legal(f"mmrope-eval.{verdict.cell}"), "name": legal(verdict.column), "time": "0",
        })
        if verdict in failing:
            failure = {"message": legal(verdict.sentence), "type": verdict.state}
            body = ElementTree.SubElement(element, "failure", failure)
            body.text = legal(outcome.rule)
        elif verdict in skipped:
            message = legal(f"{WORDS[verdict.state]}: {verdict.sentence}")
            ElementTree.SubElement(element, "skipped", {"message": message})
        else:
            ElementTree.SubElement(element, "system-out").text = legal(f"{verdict.sentence} {verdict.basis}.")
    sentences = (outcome.headline, outcome.rule, *remarks(outcome), *outcome.notes)
    ElementTree.SubElement(suite, "system-out").text = legal("\n".join(sentences))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def legal(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return _FORBIDDEN.sub("\ufffd", text)
