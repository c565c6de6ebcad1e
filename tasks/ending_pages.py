"""Markdown pages of the drill, the cut-over and the decommission."""

from collections.abc import Mapping
from typing import Any

from tasks.pages import cell

__all__ = ["drill_page", "ending_page"]


def drill_page(record: Mapping[str, Any]) -> str:
    """What the drill took, as the control server measured it."""
    scope = "everything" if record["scope"] is None else ", ".join(record["scope"])
    return "\n".join(
        (
            f"# Rollback drill: {'passed' if record['passed'] else 'too slow'}",
            "",
            "| | |",
            "|---|---|",
            f"| taken back | {record['points']:g} percentage points of {cell(scope)} |",
            f"| everybody back after | {record['back_ms'] / 1e3:.2f} s |",
            f"| everybody forward after | {record['forward_ms'] / 1e3:.2f} s |",
            "",
        )
    )


def ending_page(what: str, found: Mapping[str, Any], dry_run: bool) -> str:
    """What was done, or would be."""
    rollout = found["rollout"]
    phase = str(rollout["phase"]).replace("_", " ")
    told = "would be" if dry_run else "is"
    lines = [f"# {what}: “{cell(rollout['name'])}” {told} {phase}", ""]
    for fact in found["facts"]:
        detail = {key: value for key, value in fact["detail"].items() if key != "payload"}
        words = ", ".join(f"{key} {value}" for key, value in detail.items())
        lines.append(f"- {fact['kind'].replace('_', ' ')}: {cell(words)}")
    if dry_run:
        lines += ["", "Nothing was changed. To do it, untick *dry_run* and type the name."]
    return "\n".join([*lines, ""])
