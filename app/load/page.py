"""A test's report as one page that needs nothing else: no script, no address, a strict policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape

from app.load.figures import Second
from app.load.report import LoadReport

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--a:#2563eb;--b:#d97706;--bad:#b91c1c}
@media(prefers-color-scheme:dark){:root{--a:#7aa2ff;--b:#fbbf24;--bad:#f87171}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;
border-bottom:1px solid var(--line)}td+td,th+th{font-variant-numeric:tabular-nums}
svg{width:100%;height:auto;border-bottom:1px solid var(--line)}
.a{stroke:var(--a);fill:none;stroke-width:1.5}.b{stroke:var(--b);fill:none;stroke-width:1.5}
.ka{color:var(--a)}.kb{color:var(--b)}.bad{color:var(--bad)}
text{fill:currentColor;font:12px system-ui,sans-serif}
""".strip()
_WIDTH, _HEIGHT, _TOP = 900, 180, 16


def page(report: LoadReport) -> str:
    """Return the page."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'"
    title = escape(f"Load on {report.agent}: {report.profile}")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{title}</h1>",
        *_verdict(report),
        *_figures(report),
        "<h2>Latency of what was due in each second</h2>",
        *_chart(report.by_second, ("p50_s", "half are quicker"), ("p99_s", "p99"), "s"),
        "<h2>Requests a second</h2>",
        *_chart(report.by_second, ("due", "due"), ("ended", "ended"), "a second"),
        *_stages(report),
        *_memory(report),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _verdict(report: LoadReport) -> Iterator[str]:
    if report.ok:
        yield "<p>All is good: each request ended once, and nothing was paid twice.</p>"
        return
    yield '<ul class="bad">'
    for line in report.found:
        yield f"<li>{escape(line)}</li>"
    yield "</ul>"


def _figures(report: LoadReport) -> Iterator[str]:
    latency = report.latency
    rows = {
        "sent": f"{report.sent:,}",
        "not taken": f"{report.refused:,}",
        "ended": f"{report.ended:,}, {report.done_rate:.1f} a second",
        **{f"ended {state}": f"{number:,}" for state, number in report.states.items()},
        **{f"failed by {reason}": f"{number:,}" for reason, number in report.reasons.items()},
        "lost": f"{report.lost:,}",
        "paid twice": f"{report.paid_twice:,}",
        "p50": f"{latency.p50_s:.3f} s",
        "p95": f"{latency.p95_s:.3f} s",
        "p99": f"{latency.p99_s:.3f} s",
        "most": f"{latency.max_s:.3f} s",
        "tester late by": f"{report.late_s:.3f} s",
    }
    if report.knee is not None:
        rows["knee"] = f"{report.knee.rate:.1f} a second"
    yield from _table(("", ""), [*rows.items()])


def _chart(
    seconds: Sequence[Second], one: tuple[str, str], other: tuple[str, str], unit: str
) -> Iterator[str]:
    """Draw two lines over the seconds, with the highest value told."""
    of = {name: [float(getattr(s, name)) for s in seconds] for name, _ in (one, other)}
    top = max([*of[one[0]], *of[other[0]], 1e-9])
    label = f"{one[1]} and {other[1]}, at most {top:.3g} {unit}"
    yield f'<p><span class="ka">{one[1]}</span>, <span class="kb">{other[1]}</span></p>'
    yield (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<text x="0" y="12">{top:.3g} {unit}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 4}" text-anchor="end">{len(seconds)} s</text>'
    )
    for name, sort in ((one[0], "a"), (other[0], "b")):
        points = " ".join(
            f"{_WIDTH * (at + 0.5) / len(seconds):.1f},"
            f"{_HEIGHT - (_HEIGHT - _TOP) * value / top:.1f}"
            for at, value in enumerate(of[name])
        )
        yield f'<polyline class="{sort}" points="{points}"/>'
    yield "</svg>"


def _stages(report: LoadReport) -> Iterator[str]:
    if not report.stages:
        return
    yield "<h2>Stages</h2>"
    rows = [
        (
            f"{stage.rate:.1f}",
            f"{stage.done_rate:.1f}",
            f"{stage.p50_s:.3f} s",
            f"{stage.p99_s:.3f} s",
            "held" if stage.held else "not held",
        )
        for stage in report.stages
    ]
    yield from _table(("asked a second", "done", "p50", "p99", ""), rows)


def _memory(report: LoadReport) -> Iterator[str]:
    if not report.memory:
        return
    yield "<h2>Memory of workers</h2>"
    rows = [
        (
            one.worker,
            f"{one.first_mb:.0f} MB",
            f"{one.last_mb:.0f} MB",
            "" if one.slope_mb_min is None else f"{one.slope_mb_min:+.2f} MB a minute",
        )
        for one in report.memory
    ]
    yield from _table(("worker", "first", "last", "slope"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "<table>"
    if any(head):
        yield f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>"
    for row in rows:
        yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
    yield "</table>"
