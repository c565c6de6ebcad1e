#!/usr/bin/env python3
"""Draws the README's picture from a report of a demo that was proven.

crossfade demo --report report.json
scripts/draw_demo.py report.json docs/demo.svg
"""

import io
import json
import re
import sys
from pathlib import Path

from rich.console import Console

from crossfade.local.demo_checker import HolderResult
from crossfade.local.demo_report import DemoReport, Outage, StageRecord
from crossfade.local.demo_summary import print_summary

WIDTH = 108


def draw(report: dict, target: Path) -> None:
    """Print the summary as the demo does, into an SVG; only clean reports can be drawn."""
    if report["outcome"] != "proven":
        sys.exit(f"not proven, not drawn: {report['conclusion']}")
    known = DemoReport(
        seed=report["seed"],
        started_at_us=report["started_at_us"],
        machine=report["machine"],
        input=report["input"],
        options=report["options"],
        stages=[StageRecord(**one) for one in report["stages"]],
        outage=None if report["outage"] is None else Outage(**report["outage"]),
        stores=[_holder(*one) for one in report["stores"].items()],
        subscribers=[_holder(*one) for one in report["subscribers"].items()],
    )
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    print_summary(known, console, wrap=True)
    drawing = console.export_svg(title="make demo", unique_id="demo")
    # The picture stands for itself: it fetches no font.
    target.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawing, flags=re.DOTALL), "utf-8")


def _holder(name: str, figures: dict) -> HolderResult:
    return HolderResult(name, figures["expected"], figures["delivered"], ())


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
