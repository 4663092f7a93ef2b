"""A run as JUnit XML, which CI servers read.

The rule: JUnit knows passed, failed and in error, and a state that is neither of ours is never made one of theirs that
says less: FAIL is a failure, UNKNOWN and NOT RUN are errors, everything else has passed, and the verdict is a property
of each. There is no skip.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from mqbridge_conformance.report.document import NOT_RUN, Document, NotRunRow, ResultRow

__all__ = ["junit_xml"]

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document may have, not even as a reference."""


def junit_xml(found: Document) -> str:
    """A suite a target, a case a result; and one for what was to be run and was not."""
    root = ET.Element("testsuites", name="mqbridge conformance")
    for target in found["targets"]:
        rows = [row for row in found["results"] if row["target"] == target["name"]]
        left_out = [row for row in found["not_run"] if row["target"] == target["name"]]
        suite = _suite(root, target["name"], rows, left_out)
        suite.set("timestamp", found["run"]["began"])
        versions = {f"version {what}": version for what, version in target["versions"].items()}
        _properties(suite, {"level": found["run"]["level"], "seed": str(found["run"]["seed"]), **versions})
        for number, row in enumerate(rows):
            _case(suite, row, sum(before["scenario"] == row["scenario"] for before in rows[:number]))
        for one in left_out:
            _not_run(suite, one)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ET.Element, name: str, rows: list[ResultRow], left_out: list[NotRunRow]) -> ET.Element:
    return ET.SubElement(
        root,
        "testsuite",
        name=_text(name),
        tests=str(len(rows) + len(left_out)),
        failures=str(sum(row["verdict"] == "FAIL" for row in rows)),
        errors=str(sum(row["verdict"] == "UNKNOWN" for row in rows) + len(left_out)),
        skipped="0",
        time=f"{sum(row['seconds'] for row in rows):.3f}",
    )


def _case(suite: ET.Element, row: ResultRow, before: int) -> None:
    """`before`: how often it has run already, so that no two cases have one name."""
    name = f"{row['scenario']} [{before + 1}]" if before else row["scenario"]
    case = _named(suite, row["target"], name, row["seconds"])
    counts = {f"evidence {what}": str(number) for what, number in row["evidence"].items()}
    _properties(case, {"verdict": row["verdict"], "seed": str(row["seed"]), **counts})
    kind = {"FAIL": "failure", "UNKNOWN": "error"}.get(row["verdict"])
    if kind:
        ET.SubElement(case, kind, type=row["verdict"], message=_text(row["reason"])).text = _text(row["reason"])
    told = [*row["notes"]] if kind else [*filter(None, [row["reason"]]), *row["notes"]]
    if told:
        ET.SubElement(case, "system-out").text = _text("\n".join(told))


def _not_run(suite: ET.Element, row: NotRunRow) -> None:
    case = _named(suite, row["target"], row["scenario"], 0.0)
    _properties(case, {"verdict": NOT_RUN})
    ET.SubElement(case, "error", type=NOT_RUN, message=_text(row["reason"])).text = _text(row["reason"])


def _named(suite: ET.Element, target: str, name: str, seconds: float) -> ET.Element:
    where = f"mqbridge_conformance.{target}"
    return ET.SubElement(suite, "testcase", classname=_text(where), name=_text(name), time=f"{seconds:.3f}")


def _properties(parent: ET.Element, values: dict[str, str]) -> None:
    properties = ET.SubElement(parent, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", name=_text(name), value=_text(value))


def _text(text: str) -> str:
    return _NO_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
