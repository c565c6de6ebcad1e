"""The guide's table is what the formula says."""

from crossfade.core.plans import PLANS, Traffic, messages_per_s
from crossfade.settings import RelaySettings
from scripts.quota_table import PAGE, RATES, SHOWN, page_with_table, table


def test_the_page_holds_what_the_script_writes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_with_table(page) == page, "run scripts/quota_table.py"


def test_each_figure_is_the_most_that_fits() -> None:
    relay = RelaySettings()
    rows = [line.strip("| ").split(" | ") for line in table().splitlines()[2:]]
    assert {int(row[0].replace(",", "")) for row in rows} == set(RATES)
    for row in rows:
        rate, poll_s = float(row[0].replace(",", "")), float(row[1])
        for name, cell in zip(SHOWN, row[2:], strict=True):
            most = int(cell.replace(",", ""))
            traffic = Traffic(
                (rate,), most, batches_per_s=1 / poll_s,
                frame_limit_bytes=relay.frame_limit_bytes, heads_per_s=1 / relay.heads_s,
            )  # fmt: skip
            plan = PLANS[name]
            fits = messages_per_s(traffic) <= plan.messages_per_s * (1 + 1e-9)
            more = traffic._replace(subscribers=most + 1)
            full = messages_per_s(more) > plan.messages_per_s or most == plan.connections
            assert (fits or most == 0, full) == (True, True), (row, name)
