"""Writes the table of docs/guides/supabase-project.md from the formula in ``core.plans``.

``python scripts/quota_table.py`` replaces what stands between the two marks in that page.
"""

from pathlib import Path

from crossfade.core.plans import PLANS, Traffic, most_subscribers
from crossfade.settings import RelaySettings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "guides" / "supabase-project.md"
BEGIN, END = "<!-- quota table: scripts/quota_table.py -->", "<!-- end of quota table -->"
RATES = (1, 10, 100, 1_000, 5_000)
SHOWN = ("free", "self-hosted", "pro", "team")
POLLS_S = (RelaySettings().poll_s, 0.25, 1.0)


def table() -> str:
    """Most subscribers of one topic at 100 %, per event rate, plan and pause between batches."""
    relay = RelaySettings()
    names = [PLANS[name] for name in SHOWN]
    heads = [f"{one.name} ({one.messages_per_s:,}/s)" for one in names]
    lines = [
        "| events/s | `relay.poll_s` | " + " | ".join(heads) + " |",
        "|---:|---:|" + "---:|" * len(names),
    ]
    for rate in RATES:
        for poll_s in POLLS_S:
            traffic = Traffic(
                topics=(float(rate),),
                subscribers=0,
                batches_per_s=1 / poll_s,
                frame_limit_bytes=relay.frame_limit_bytes,
                heads_per_s=1 / relay.heads_s,
            )
            cells = [f"{most_subscribers(traffic, plan):,}" for plan in names]
            lines.append(f"| {rate:,} | {poll_s:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page_with_table(page: str) -> str:
    """``page`` with the table between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
