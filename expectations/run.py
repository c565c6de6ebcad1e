"""Runs the suites and turns what Great Expectations says into our own results."""

import importlib
import logging
import pkgutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import pandas as pd

import expectations
from crossfade.core.reconciliation import Reconciliation, SuiteResult
from crossfade.core.verdict import Measurement, Verdict, worst
from expectations.docs import write_pages
from expectations.engine import batch_of, gx, gxe
from expectations.rule import Material, Rule

__all__ = ["preload", "suite_names", "validate"]

SHOWN = 5
"""So many offending rows of a failed expectation are named."""

_one_at_a_time = Lock()
_log = logging.getLogger(__name__)


def suite_names() -> tuple[str, ...]:
    """The names of all suites, those dropped in as well."""
    return tuple(module.SUITE for module in _suites())


def preload() -> None:
    """Import every suite, and run one expectation, so that the first gate need not wait."""
    _suites()
    frame = pd.DataFrame({"warm": [1]})
    _run(frame, [Rule("warm", "", gxe.ExpectTableRowCountToEqual(value=1))])


def validate(
    reconciliation: Reconciliation,
    *,
    measurements: Iterable[Measurement] | None = None,
    suites: Sequence[str] | None = None,
    docs: Path | None = None,
) -> list[SuiteResult]:
    """Judge a reconciliation, and a stage's measurements if they are given.

    A suite without rows to judge is INCONCLUSIVE; one that breaks (a column that is not there,
    an exception of the validator) is ERROR, never FAIL. Fold the results into the
    reconciliation with its ``with_suites``.

    Args:
        suites: names; None for all that apply.
        docs: a folder for Great Expectations' pages of the results (``docs.write_pages``).

    Raises:
        ValueError: a suite that does not exist.
    """
    given = tuple(measurements) if measurements is not None else None
    material = Material(reconciliation, given)
    modules = {module.SUITE: module for module in _suites()}
    unknown = set(suites or ()) - set(modules)
    if unknown:
        raise ValueError(f"no such suite: {', '.join(sorted(unknown))}")
    chosen = modules if suites is None else {name: modules[name] for name in suites}
    shown: dict[str, Any] = {}
    results = [_judge(module, material, shown) for module in chosen.values()]
    found = [result for result in results if result is not None]
    if docs is not None and shown:
        try:
            write_pages(docs, reconciliation.at_us, shown, worst(one.verdict for one in found))
        except OSError:
            _log.warning("the suites' pages could not be written to %s", docs, exc_info=True)
    return found


def _suites() -> list[ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(expectations.__path__))
    modules = [importlib.import_module(f"expectations.{name}") for name in names]
    return [module for module in modules if hasattr(module, "SUITE")]


def _judge(module: ModuleType, material: Material, shown: dict[str, Any]) -> SuiteResult | None:
    name = str(module.SUITE)
    try:
        frame = module.frame(material)
        if frame is None:
            return None
        rules = list(module.rules(material))
        names = [rule.name for rule in rules]
        if len(set(names)) != len(names):
            raise ValueError("two rules have the same name")
        if not len(frame):
            return SuiteResult(
                suite=name,
                verdict=Verdict.INCONCLUSIVE,
                expectations=len(rules),
                failed=("nothing to judge: the table is empty",),
            )
        shown[name] = results = _run(frame, rules)
        return _result(name, rules, results)
    except Exception as error:  # noqa: BLE001 - a suite is a user's code; whatever breaks is ERROR
        _log.warning("suite %s broke", name, exc_info=True)
        text = f"the suite itself broke: {type(error).__name__}: {error}"
        return SuiteResult(suite=name, verdict=Verdict.ERROR, expectations=0, failed=(text,))


def _run(frame: pd.DataFrame, rules: Sequence[Rule]) -> Any:
    """Great Expectations' result of the rules."""
    for rule in rules:
        rule.expectation.meta = {"rule": rule.name}
        rule.expectation.notes = rule.reason
    # Great Expectations keeps one current context per process, so one validation at a time.
    with _one_at_a_time:
        batch = batch_of(frame)
        suite = gx.ExpectationSuite(name="rules", expectations=[rule.expectation for rule in rules])
        return batch.validate(suite, result_format="SUMMARY")


def _result(name: str, rules: Sequence[Rule], answer: Any) -> SuiteResult:
    results = {one.expectation_config.meta["rule"]: one for one in answer.results}
    verdicts = [Verdict.PASS]
    failed = []
    for rule in rules:
        result = results.get(rule.name)
        if result is None:
            verdicts.append(Verdict.ERROR)
            failed.append(f"{rule.name}: was not evaluated")
        elif broken := _exception(result):
            verdicts.append(Verdict.ERROR)
            failed.append(f"{rule.name}: could not be evaluated: {broken}")
        elif not result.success:
            verdicts.append(rule.on_failure)
            failed.append(f"{rule.name}: {rule.reason} ({_observed(result)})")
    return SuiteResult(
        suite=name, verdict=worst(verdicts), expectations=len(rules), failed=tuple(failed)
    )


def _exception(result: Any) -> str:
    """What broke an expectation; Great Expectations reports it in two shapes."""
    info = result.exception_info or {}
    entries = [info] if "raised_exception" in info else list(info.values())
    for entry in entries:
        if entry.get("raised_exception"):
            return str(entry.get("exception_message"))
    return ""


def _observed(result: Any) -> str:
    found = result.result
    if "observed_value" in found:
        return f"observed {found['observed_value']}"
    rows = [str(row) for row in found.get("partial_unexpected_index_list") or ()][:SHOWN]
    count = found.get("unexpected_count", 0)
    more = f" and {count - len(rows)} more" if count > len(rows) else ""
    return f"{count} rows: {', '.join(rows)}{more}" if rows else f"{count} rows"
