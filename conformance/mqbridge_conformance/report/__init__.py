"""Showing a run: as text and Markdown, as JSON, as JUnit XML, as a page; and what changed between two of them."""

from mqbridge_conformance.report.comparing import compare
from mqbridge_conformance.report.document import Document, document, to_json
from mqbridge_conformance.report.junit import junit_xml
from mqbridge_conformance.report.matrix import as_markdown, as_text, summary
from mqbridge_conformance.report.page import page
from mqbridge_conformance.report.reading import read_document
from mqbridge_conformance.report.table import SLICE, capability_table

__all__ = [
    "SLICE",
    "Document",
    "as_markdown",
    "as_text",
    "capability_table",
    "compare",
    "document",
    "junit_xml",
    "page",
    "read_document",
    "summary",
    "to_json",
]
