"""How the page looks and the little that it does by itself.

The rule: no address outside the page; light and dark are the same rules with other values; without JavaScript all of
it can be read, and what needs JavaScript is not shown.
"""

from __future__ import annotations

from typing import Final

from mqbridge_conformance.timelines.picture import STYLE as TIMELINES

__all__ = ["SCRIPT", "STYLE"]

_PAGE: Final = """
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --sheet: #ffffff; --ink: #1d2126; --faint: #5c6570; --rule: #d9dde2; --link: #0b57a4;
  --pass: #1a7f37; --pass-emulated: #6f8a06; --refused-proven: #4a6785; --pending: #7a5bb5;
  --unknown: #a35b00; --bad: #c4231c;
  --send: #0b57a4; --deliver: #7a3fb0; --settle: #1a7f37; --commit: #0c7d84; --lease: #8a6d00; --seen: #5c6570;
  --way-0: #c4231c; --way-1: #0b57a4; --way-2: #1a7f37; --way-3: #a35b00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --sheet: #1b1f23; --ink: #e4e7ea; --faint: #9aa4ae; --rule: #343b42; --link: #79b8ff;
    --pass: #56c271; --pass-emulated: #b5c94a; --refused-proven: #8fb0d3; --pending: #b79cf0;
    --unknown: #f0a94a; --bad: #ff7b72;
    --send: #79b8ff; --deliver: #c79bf2; --settle: #56c271; --commit: #4fc3cb; --lease: #d9b93f; --seen: #9aa4ae;
    --way-0: #ff7b72; --way-1: #79b8ff; --way-2: #56c271; --way-3: #f0a94a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem clamp(.75rem, 3vw, 2.5rem) 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
a { color: var(--link); } code, .mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { font-size: .92em; overflow-wrap: anywhere; } p { margin: .35rem 0; } .faint { color: var(--faint); }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .6rem 0; }
.facts dt { color: var(--faint); } .facts dd { margin: 0; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: 1rem 0; }
.scroll { overflow-x: auto; border: 1px solid var(--rule); border-radius: 6px; background: var(--sheet); }
table { border-collapse: separate; border-spacing: 0; width: 100%; }
th, td { padding: .32rem .6rem; text-align: left; vertical-align: top; border-top: 1px solid var(--rule); }
thead th { border-top: 0; font-weight: 600; white-space: nowrap; } tbody th { font-weight: 500; min-width: 9rem; }
th:first-child { position: sticky; left: 0; background: var(--sheet); } th code { white-space: nowrap; }
td { white-space: nowrap; }
tbody tr:hover { background: color-mix(in srgb, var(--link) 7%, transparent); }
td a { text-decoration: none; } td a:hover { text-decoration: underline; }
td small { color: var(--faint); margin-left: .5em; } th small { display: block; font-weight: 400; }
.chip { display: inline-block; padding: 0 .45em; border: 1px solid currentColor; border-radius: 4px; font-size: .8rem;
  font-weight: 600; letter-spacing: .01em; white-space: nowrap; color: var(--chip, var(--faint)); }
.chip.pass { --chip: var(--pass); } .chip.pass-emulated { --chip: var(--pass-emulated); }
.chip.refused-proven { --chip: var(--refused-proven); } .chip.pending { --chip: var(--pending); border-style: dashed; }
.chip.unknown, .chip.not-run { --chip: var(--unknown); background: color-mix(in srgb, var(--chip) 18%, transparent); }
.chip.fail { --chip: var(--bad); background: color-mix(in srgb, var(--chip) 18%, transparent); }
.chip.none { border-style: dotted; font-weight: 400; }
details { border: 1px solid var(--rule); border-radius: 6px; background: var(--sheet); margin: .4rem 0; }
summary { padding: .4rem .7rem; cursor: pointer; } summary > * { margin-right: .6rem; }
details > div { padding: .2rem .9rem .8rem; border-top: 1px solid var(--rule); }
:target { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 6px; scroll-margin-top: 1rem; }
.bad { border-left: 4px solid var(--bad); } .reason { overflow-wrap: anywhere; white-space: pre-wrap; }
.list { margin: .3rem 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.counts { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; } figure { margin: .6rem 0 1rem; }
figcaption { color: var(--faint); font-size: .85rem; margin: .3rem 0; }
pre { margin: .4rem 0; padding: .6rem; overflow-x: auto;
  border: 1px solid var(--rule); border-radius: 6px; font-size: .8rem; line-height: 1.4; }
.filters { display: flex; flex-wrap: wrap; gap: .4rem 1rem; align-items: center; margin: .8rem 0; }
.filters label { white-space: nowrap; } [hidden] { display: none !important; }
.filters input[type=search] { font: inherit; color: inherit; background: var(--sheet); padding: .2rem .5rem;
  min-width: 14rem; border: 1px solid var(--rule); border-radius: 4px; }
@media (max-width: 600px) {
  body { font-size: 14px; } th code { white-space: normal; }
  tbody th { min-width: 0; width: 42vw; max-width: 42vw; }
  .facts { grid-template-columns: 1fr; } .facts dt { margin-top: .3rem; }
  .filters input[type=search] { min-width: 0; width: 100%; }
}
@media print { .filters, nav { display: none; } }
"""

STYLE: Final = _PAGE + TIMELINES

SCRIPT: Final = """
const filters = document.querySelector(".filters"), search = filters.querySelector("input[type=search]");
const boxes = [...filters.querySelectorAll("input[type=checkbox]")];
const rows = [...document.querySelectorAll("[data-verdicts]")].map(row => [row, row.textContent.toLowerCase()]);
function filter() {
  const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
  const shown = new Set(boxes.filter(box => box.checked).map(box => box.value));
  for (const [row, text] of rows) {
    const verdicts = row.dataset.verdicts.split(" ");
    row.hidden = !(verdicts.some(verdict => shown.has(verdict)) && words.every(word => text.includes(word)));
  }
}
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let at = target; at; at = at.parentElement) {
    if (at.localName === "details") at.open = true;
    at.hidden = false;
  }
  target.scrollIntoView();
}
filters.hidden = false;
filters.addEventListener("input", filter);
addEventListener("hashchange", reveal);
reveal();
"""
