"""A report as one page: it loads nothing, runs nothing, and links to the feedback pages that lie beside it."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import jinja2

from cs336lite.course.border import plain
from cs336lite.teaching import figures
from cs336lite.teaching.classbook import Row, duration, number
from cs336lite.teaching.report import Report
from cs336lite.teaching.summary import headline, local_time

CHANGES = 200  # that are listed


def as_html(found: Report, course: Path, where: Path) -> str:
    """The page of a report that will lie at ``where``: links to feedback pages are seen from there."""
    book = found.book
    totals = [row.total for row in book.graded]
    pictures = []
    if totals:
        pictures.append(figures.distribution(totals, book.max_score))
        shares = [
            [min(1, row.exercises[e].score / most) for row in book.graded if most and e in row.exercises] or [0.0]
            for e, most in book.exercises.items()
        ]
        pictures.append(figures.exercises(list(book.exercises), shares))
    if hours := since_due(book.graded, book.duedate):
        pictures.append(figures.arrivals(hours))
    by_exercise: dict[str, list] = {}
    for rate in found.rates:
        by_exercise.setdefault(rate.exercise, []).append(rate)
    order = [e for e in book.exercises if e in by_exercise] + [e for e in by_exercise if e not in book.exercises]
    return TEMPLATE.render(
        book=book,
        headline=headline(book).partition(": ")[2],
        stats=book.statistics(),
        pictures=pictures,
        exercises=[(e, by_exercise[e]) for e in order],
        changes=[(local_time(when), change) for when, change in found.changes[:CHANGES]],
        names=book.names,
        rows=sorted(book.rows, key=lambda row: (row.name.rpartition(" ")[2].casefold(), row.name, row.student)),
        pages={row.student: link for row in book.rows if (link := page_of(row, course, book.assignment, where))},
        verdicts=found.verdicts,
        judged=len(found.verdicts),
        made=time.strftime("%Y-%m-%d %H:%M"),
        styles=STYLES,
    )


def since_due(rows: list[Row], duedate: str) -> list[float]:
    """How many hours after the due date (and any extension) each came; nothing where there is no date."""
    if not duedate:
        return []
    due = datetime.fromisoformat(duedate)
    came = [(datetime.fromisoformat(row.timestamp), row.extension) for row in rows if row.timestamp]
    return [((when - due).total_seconds() - extension) / 3600 for when, extension in came]


def page_of(row: Row, course: Path, assignment: str, where: Path) -> str:
    """A link to a student's feedback page; empty when there is none."""
    page = course / "feedback" / row.student / assignment / f"{assignment}.html"
    return quote(os.path.relpath(page, where.resolve().parent)) if page.is_file() else ""


def state(row: Row) -> str:
    if not row.handed_in:
        return "missing"
    if not row.graded:
        return "not graded"
    return "to grade by hand" if row.needs_person else ""


STYLES = """
:root { color-scheme: light; --ink: #1d2126; --soft: #59626c; --line: #d8dde3; --ground: #f6f7f9; --blue: #0072B2;
  --bad: #9c1c16; --badground: #fcefee; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.5rem 5rem; background: #fff; color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 1.7rem; margin: 0; line-height: 1.2; } .soft { color: var(--soft); } .bad { color: var(--bad); }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-bottom: .25rem; border-bottom: 2px solid var(--ink); }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .8rem; margin: 1.4rem 0; }
.tile { background: var(--ground); border-radius: 8px; padding: .7rem 1rem; }
.tile b { display: block; font-size: 1.55rem; line-height: 1.25; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile.warn { background: var(--badground); } .tile.warn b { color: var(--bad); }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1.2rem; align-items: start; }
.pictures svg { width: 100%; height: auto; display: block; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .38rem .9rem .38rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; font-size: .86rem; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.grow { width: 60%; } .id { font: .82rem ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; color: var(--soft); }
.bar { display: block; width: 8rem; height: .55rem; margin-top: .45rem; background: var(--line); border-radius: 3px; overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--blue); } .bar.red i { background: #D55E00; }
.message { color: var(--soft); font-size: .88rem; overflow-wrap: anywhere; } a { color: #0b4f9e; }
tr.out td { color: var(--soft); }
.name { white-space: nowrap; } .rates .id { overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { padding: 1rem .8rem 3rem; } .pictures { grid-template-columns: 1fr; }
  .rates td:nth-child(2) { display: none; } .name { white-space: normal; } }
@media print { body { max-width: none; font-size: 10pt; padding: 0; } .bar, .tile { print-color-adjust: exact; }
  h2, h3 { break-after: avoid; } tr { break-inside: avoid; } a { color: inherit; text-decoration: none; } }
"""

ENVIRONMENT = jinja2.Environment(
    autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
)
ENVIRONMENT.filters |= {"points": number, "plain": plain, "duration": duration, "state": state}
TEMPLATE = ENVIRONMENT.from_string("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<title>{{ book.assignment }}: report</title>
<style>{{ styles | safe }}</style>
</head>
<body>
<h1>{{ book.assignment }}</h1>
<p class="soft">{{ headline }}{% if book.duedate %} · due {{ book.duedate }} UTC{% endif %} · report of {{ made }}</p>
<div class="tiles">
<div class="tile"><b>{{ book.rows | length - book.missing | length }}</b>handed in, of {{ book.rows | length }}</div>
{% if stats %}
<div class="tile"><b>{{ "%.1f" % stats.mean }}</b>mean of {{ book.max_score | points }}</div>
<div class="tile"><b>{{ stats.median | points }}</b>median</div>
<div class="tile"><b>{{ "%.1f" % stats.spread }}</b>spread ({{ stats.least | points }} to {{ stats.most | points }})</div>
{% endif %}
<div class="tile"><b>{{ book.late | length }}</b>late</div>
{% set by_hand = book.graded | selectattr("needs_person") | list | length %}
{% if by_hand %}<div class="tile warn"><b>{{ by_hand }}</b>to grade by hand</div>{% endif %}
{% if book.ungraded %}<div class="tile warn"><b>{{ book.ungraded | length }}</b>not graded</div>{% endif %}
</div>
<div class="pictures">
{% for picture in pictures %}<div>{{ picture | safe }}</div>
{% endfor %}
</div>
{% if exercises %}
<h2>Checks</h2>
<p class="soft">How many fail each check, of {{ judged }} whose last verdict is kept, and what most of these are told.</p>
{% for exercise, rates in exercises %}
<h3>{{ exercise }}{% if exercise in book.exercises %} <span class="soft">· {{ book.exercises[exercise] | points }} points</span>{% endif %}</h3>
<table class="rates">
{% for rate in rates %}
<tr{% if not rate.failed %} class="out"{% endif %}>
<td class="n" style="width: 5rem">{{ rate.failed }} of {{ rate.of }}</td>
<td style="width: 9rem"><span class="bar red"><i style="width: {{ "%.1f" % (100 * rate.failed / rate.of) }}%"></i></span></td>
<td>{{ rate.title }} <span class="id">{{ rate.id.partition(".")[2] }}</span>
{% if rate.message %}<div class="message">{{ rate.message }}</div>{% endif %}</td>
<td class="n">{{ rate.points | points }}</td>
</tr>
{% endfor %}
</table>
{% endfor %}
{% endif %}
{% if changes %}
<h2>Changes of grades</h2>
<div class="wide"><table>
<tr><th>when</th><th>student</th><th class="n">points</th><th>why</th></tr>
{% for when, change in changes %}
<tr><td class="n" style="text-align: left">{{ when }}</td><td>{{ names.get(change.student, change.student) | plain }}</td>
<td class="n{% if change.new < change.old %} bad{% endif %}">{{ change.old | points }} → {{ change.new | points }}</td>
<td class="grow">{{ change.reasons | join(", ") | plain }}</td></tr>
{% endfor %}
</table></div>
{% endif %}
<h2>Students</h2>
<div class="wide"><table>
<tr><th>student</th><th>id</th><th class="n">score</th><th></th>
{% for exercise in book.exercises %}<th class="n">{{ exercise }}</th>{% endfor %}
<th class="n">by hand</th><th class="n">penalty</th><th>late</th><th></th></tr>
{% for row in rows %}
<tr{% if not row.graded %} class="out"{% endif %}>
<td class="name">{% if row.student in pages %}<a href="{{ pages[row.student] }}">{{ row.name or row.student | plain }}</a>
{% else %}{{ row.name or row.student | plain }}{% endif %}</td>
<td class="id">{{ row.student | plain }}</td>
{% if row.graded %}
<td class="n">{{ row.total | points }}</td>
<td><span class="bar"><i style="width: {{ "%.1f" % (100 * row.total / (row.max_score or 1)) }}%"></i></span></td>
{% for exercise in book.exercises %}
<td class="n">{% if exercise in row.exercises %}{{ row.exercises[exercise].score | points }}{% endif %}</td>
{% endfor %}
<td class="n">{% if row.by_hand %}{{ "%+g" % row.by_hand }}{% endif %}</td>
<td class="n">{% if row.penalty %}−{{ row.penalty | points }}{% endif %}</td>
<td class="name">{% if row.late %}{{ row.late | duration }}{% endif %}</td>
{% else %}
<td></td><td></td>{% for exercise in book.exercises %}<td></td>{% endfor %}<td></td><td></td><td></td>
{% endif %}
<td class="message">{{ row | state }}{% if row.student in verdicts and verdicts[row.student].problem %}
{{ verdicts[row.student].problem }}{% endif %}</td>
</tr>
{% endfor %}
</table></div>
</body>
</html>
""")
