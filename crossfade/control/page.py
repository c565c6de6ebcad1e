"""``GET /``: a plain page with what ``/metrics`` tells anybody, for a person."""

from collections.abc import Sequence
from html import escape

from crossfade.control.service import ControlService
from crossfade.control.status import store_states
from crossfade.core.rollout import percent_of

__all__ = ["status_page"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<meta name="viewport" content="width=device-width">
<title>Crossfade: {title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse;width:100%;margin:1rem 0}}th,td{{text-align:left;
padding:.3rem .6rem;border-bottom:1px solid #8884}}
td.n{{text-align:right;font-variant-numeric:tabular-nums}}</style>
</head><body><h1>Crossfade</h1><p>{title}</p>{tables}
<p>Reasons, names and evidence: <code>crossfade status</code>. Figures over time:
<a href="/metrics">/metrics</a>.</p></body></html>
"""


def status_page(service: ControlService) -> str:
    """The page; it shows no reason, no name and nothing else that would need a token."""
    rollout, flags = service.rollout, service.flags
    title = "no rollout was started"
    if rollout is not None:
        number, count = rollout.stage + 1, len(rollout.plan.stages)
        title = f"stage {number} of {count}, attempt {rollout.attempt}: {rollout.phase.value}"
    shares = [
        (name, f"{percent_of(flags.served, name):g} %", f"{percent_of(flags.written, name):g} %")
        for name in sorted(set(flags.topics.values()))
    ]
    live = service.observations.windows.live(service.clock.now_us())
    stores = [
        (name, str(state["breaker"]), f"{state['owed']:,}")
        for name, state in sorted(store_states(live).items())
    ]
    measured = service.evidence.measurements if service.evidence is not None else ()
    checks = [
        (
            one.name,
            one.verdict.value,
            "-" if one.value is None else f"{one.value:g} {one.unit}",
            "-" if one.limit is None else f"{one.relation} {one.limit:g} {one.unit}",
            f"{one.n:,}",
        )
        for one in measured
    ]
    tables = (
        _table(("category", "served by Realtime", "written"), shares)
        + _table(("store", "breaker", "events owed"), stores)
        + _table(("check", "verdict", "value", "limit", "n"), checks)
    )
    return _PAGE.format(title=escape(title), tables=tables)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="n">{escape(cell)}</td>' if number else f"<td>{escape(cell)}</td>"
            for number, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{cells}</tr>{body}</table>"
