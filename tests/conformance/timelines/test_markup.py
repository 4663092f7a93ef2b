"""Markup is made by `tag` alone; everything else is text."""

from __future__ import annotations

from mqbridge_conformance.timelines.markup import Markup, join, tag


def test_text_is_escaped_and_markup_is_not_escaped_twice() -> None:
    """In elements and in attributes, at any depth."""
    inner = tag("b", "<&>", title='say "a" & <b>')
    assert inner == '<b title="say &quot;a&quot; &amp; &lt;b&gt;">&lt;&amp;&gt;</b>'
    assert tag("p", inner, ["<i>", [inner]], None) == f"<p>{inner}&lt;i&gt;{inner}</p>"
    assert isinstance(tag("p"), Markup)


def test_attributes_are_named_as_html_names_them() -> None:
    """A flag has no value, and what is None or False is not there; a number is as short as it can be."""
    made = tag("input", class_="a", data_verdicts="PASS", checked=True, hidden=False, title=None, x=1.50)
    assert made == '<input class="a" data-verdicts="PASS" checked x="1.5">'


def test_a_zero_is_a_value() -> None:
    """It is not False, though Python thinks so."""
    assert tag("line", x1=0, y1=0.0) == '<line x1="0" y1="0"></line>'


def test_what_no_page_can_hold_is_replaced() -> None:
    """NUL and half a surrogate pair, which a broker's text may have."""
    assert join(["a\0b\ud800"]) == "a␀b?"
