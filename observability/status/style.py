"""The page's style sheet. Inline, and allowed by its hash, so that browsers apply no other."""

import base64
import hashlib

SHEET = """
:root { color-scheme: light dark; --paper: #f6f7f9; --card: #fff; --ink: #1c2330; --soft: #5b6575;
  --line: #dfe3ea; --good: #2f6fbd; --bad: #c4511d; --worse: #e39a6f; --other: #8a5bb5; --open: #3d8577;
  --gap: #eceff4; --ok: #21764a; --warn: #8a5a00; --crit: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161d; --card: #1a2029; --ink: #e6e9ef;
  --soft: #9aa5b5; --line: #2c3542; --good: #6ea8ee; --bad: #f0895a; --worse: #a85f3c; --other: #b894dc;
  --open: #5fb8a6; --gap: #222a35; --ok: #6cc596; --warn: #e8b75c; --crit: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%; }
main, header, footer { max-width: 1240px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 28px; display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 16px; }
h1 { font-size: 22px; margin: 0; font-weight: 650; letter-spacing: -.01em; }
h2 { font-size: 15px; margin: 0; font-weight: 600; }
.soft, small { color: var(--soft); font-size: 13px; }
header .soft { margin-left: auto; }
.state { margin: 16px 0; padding: 14px 18px; background: var(--card); border: 1px solid var(--line);
  border-left: 5px solid var(--ok); border-radius: 8px; list-style: none; }
.state li { display: flex; gap: 12px; align-items: baseline; }
.state li + li { margin-top: 6px; }
.state b { flex: none; font-size: 12px; font-weight: 650; letter-spacing: .03em; text-transform: uppercase;
  min-width: 78px; }
.state.warning { border-left-color: var(--warn); } .state.critical { border-left-color: var(--crit); }
.ok b { color: var(--ok); } .warning b { color: var(--warn); } li.warning b { color: var(--warn); }
li.critical b { color: var(--crit); }
.row { display: grid; gap: 16px; margin-bottom: 16px; }
.tiles { grid-template-columns: repeat(4, 1fr); }
.three { grid-template-columns: repeat(3, 1fr); }
.two { grid-template-columns: 1fr 1fr; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 16px 18px;
  min-width: 0; }
.tile p { margin: 0; }
.tile .n { font-size: 28px; line-height: 1.25; font-weight: 600; letter-spacing: -.02em; }
.head { display: flex; justify-content: space-between; align-items: baseline; gap: 12px; margin-bottom: 8px; }
.head .n { font-weight: 600; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
svg .y { text-anchor: end; } svg .x { text-anchor: middle; }
.grid { stroke: var(--line); stroke-dasharray: 2 3; } .base, .tick { stroke: var(--line); }
.hit { fill: transparent; } .gap { fill: var(--gap); shape-rendering: crispEdges; }
g:hover .hit { fill: var(--gap); }
.accepted { fill: var(--good); } .open { fill: var(--open); }
.failed, .credentials { fill: var(--bad); } .session { fill: var(--worse); } .others { fill: var(--other); }
.spark { width: 144px; height: 22px; margin-left: auto; }
.key { display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 8px; }
.key.credentials { background: var(--bad); } .key.session { background: var(--worse); }
.key.others { background: var(--other); }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; font-weight: 600; padding-bottom: 6px; }
th { text-align: left; font-weight: 400; color: var(--soft); font-size: 13px; }
tbody th { color: inherit; font-size: 15px; }
td, th { padding: 7px 0 7px 14px; border-top: 1px solid var(--line); vertical-align: middle; }
thead th { border-top: 0; padding-top: 0; }
td:first-child, th:first-child { padding-left: 0; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.zero { color: var(--soft); }
.facts tr:first-child > * { border-top: 0; }
.facts th { width: 1%; white-space: nowrap; vertical-align: top; color: var(--soft); font-size: 15px; }
footer { padding-top: 4px; padding-bottom: 32px; } footer p { margin: 0 0 8px; }
footer a { color: inherit; margin-right: 16px; }
@media (max-width: 900px) { .three, .two { grid-template-columns: minmax(0, 1fr); }
  .tiles { grid-template-columns: 1fr 1fr; } }
@media (max-width: 520px) { main, header, footer { padding-left: 12px; padding-right: 12px; }
  .card { padding: 14px; } .row { gap: 12px; margin-bottom: 12px; } .wide { display: none; }
  td, th { padding-left: 10px; } .tile .n { font-size: 24px; } header .soft { margin-left: 0; } }
"""


def source() -> str:
    """Return the sheet's hash as a Content-Security-Policy source."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(SHEET.encode()).digest()).decode()}'"
