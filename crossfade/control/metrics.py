"""``GET /metrics``: the server's view in Prometheus' text format."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from crossfade.adapters.process_usage import process_usage
from crossfade.control.service import ControlService
from crossfade.control.status import MAX_LISTED, store_states
from crossfade.core.rollout import Phase, percent_of
from crossfade.core.telemetry import Role
from crossfade.core.telemetry_windows import Instance
from crossfade.core.verdict import Verdict

__all__ = ["metrics_text"]

Family = GaugeMetricFamily | CounterMetricFamily

_USAGE: Mapping[str, tuple[str, str, type[CounterMetricFamily | GaugeMetricFamily]]] = {
    "cpu_s": ("process_cpu_seconds", "Processor time", CounterMetricFamily),
    "rss_bytes": ("process_resident_bytes", "Memory", GaugeMetricFamily),
    "fds": ("process_open_fds", "Open files", GaugeMetricFamily),
}


def metrics_text(service: ControlService) -> bytes:
    """All metrics as of now."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ServiceCollector(service))
    return generate_latest(registry)


class _ServiceCollector(Collector):
    def __init__(self, service: ControlService) -> None:
        self._service = service

    def collect(self) -> Iterator[Family]:
        """Everything, read from the service's memory; no database call."""
        yield from self._flags()
        yield from self._rollout()
        yield from self._evidence()
        yield from self._instances()
        yield from self._counters()

    def _flags(self) -> Iterator[Family]:
        flags = self._service.flags
        yield _gauge("flag_version", "Version of the flags in force", flags.version)
        for name, shares in (("served", flags.served), ("written", flags.written)):
            family = GaugeMetricFamily(
                f"crossfade_{name}_percent", f"Percentage {name} by category", labels=["category"]
            )
            for category in sorted(set(flags.topics.values())):
                family.add_metric([category], percent_of(shares, category))
            yield family

    def _rollout(self) -> Iterator[Family]:
        rollout = self._service.rollout
        phases = GaugeMetricFamily(
            "crossfade_rollout_phase", "1 for the phase the rollout is in", labels=["phase"]
        )
        for phase in Phase:
            phases.add_metric([phase.value], float(rollout is not None and rollout.phase is phase))
        yield phases
        if rollout is None:
            return
        yield _gauge("rollout_stage", "Current stage, from 0", rollout.stage)
        yield _gauge("rollout_attempt", "Attempt of the current stage, from 1", rollout.attempt)
        yield _gauge("incident_open", "1 while an incident is open", bool(rollout.incident_id))

    def _evidence(self) -> Iterator[Family]:
        evidence = self._service.evidence
        if evidence is None:
            return
        verdicts = GaugeMetricFamily(
            "crossfade_measurement_verdict",
            "1 for the verdict of each measurement",
            labels=["measurement", "verdict"],
        )
        values = GaugeMetricFamily(
            "crossfade_measurement_value", "Value of each measurement", labels=["measurement"]
        )
        limits = GaugeMetricFamily(
            "crossfade_measurement_limit", "Limit of each measurement", labels=["measurement"]
        )
        for one in evidence.measurements:
            for verdict in Verdict:
                verdicts.add_metric([one.name, verdict.value], float(one.verdict is verdict))
            if one.value is not None:
                values.add_metric([one.name], one.value)
            if one.limit is not None:
                limits.add_metric([one.name], one.limit)
        yield from (verdicts, values, limits)

    def _instances(self) -> Iterator[Family]:
        service = self._service
        now_us = service.clock.now_us()
        live = service.observations.windows.live(now_us)
        # Services first: with very many instances the last ones are not listed.
        everyone = service.observations.windows.live_services(now_us) + live
        family = GaugeMetricFamily("crossfade_instances", "Live instances by role", labels=["role"])
        for role in Role:
            count = sum(one.report.role is role for one in everyone)
            family.add_metric([role.value], count)
        yield family
        behind = sum(one.report.flag_version != service.flags.version for one in live)
        yield _gauge("instances_behind", "Live instances on another flag version", behind)
        owed = GaugeMetricFamily("crossfade_owed_events", "Events owed", labels=["store"])
        oldest = GaugeMetricFamily(
            "crossfade_oldest_owed_seconds", "Age of the oldest event owed", labels=["store"]
        )
        opened = GaugeMetricFamily(
            "crossfade_breaker_open", "1 when a breaker to the store is open", labels=["store"]
        )
        for name, state in store_states(live).items():
            owed.add_metric([name], state["owed"])
            oldest.add_metric([name], state["oldest_owed_ms"] / 1_000)
            opened.add_metric([name], float(state["breaker"] in ("open", "forced_open")))
        yield from (owed, oldest, opened)
        yield from self._usage(everyone)
        yield self._resources(everyone)

    def _usage(self, live: list[Instance]) -> Iterator[Family]:
        """Every part's process: those that report, and this server's own."""
        parts = {
            (one.report.role.value, one.report.instance): one.report.resources
            for one in live[:MAX_LISTED]
            if "cpu_s" in one.report.resources
        }
        parts["control", "control"] = process_usage()
        for key, (name, text, kind) in _USAGE.items():
            family = kind(f"crossfade_{name}", text, labels=["role", "instance"])
            for labels, resources in parts.items():
                if key in resources:
                    family.add_metric(labels, resources[key])
            yield family

    def _resources(self, live: list[Instance]) -> Family:
        """What else each part tells of itself: its queues and buffers.

        Pages are left out: they come and go by the thousand, and each would be a series.
        """
        family = GaugeMetricFamily(
            "crossfade_resource",
            "A figure that an instance reports of itself (docs/protocol.md, section 6)",
            labels=["role", "instance", "name"],
        )
        parts = [one for one in live if one.report.role is not Role.PAGE]
        for one in parts[:MAX_LISTED]:
            for name, value in one.report.resources.items():
                if name not in _USAGE:
                    family.add_metric([one.report.role.value, one.report.instance, name], value)
        return family

    def _counters(self) -> Iterator[Family]:
        service = self._service
        reports = CounterMetricFamily("crossfade_reports", "Reports taken in since the start")
        reports.add_metric([], service.observations.reports)
        yield reports
        commands = CounterMetricFamily(
            "crossfade_commands", "Commands since the start", labels=["verb", "outcome"]
        )
        for (verb, outcome), count in sorted(service.commands.items()):
            commands.add_metric([verb, outcome], count)
        yield commands
        counted = service.observations.counted
        for name, text in (
            ("calls", "Calls to the sink"),
            ("failures", "Failed calls to the sink"),
            ("events", "Events written to the sink"),
        ):
            family = CounterMetricFamily(f"crossfade_sink_{name}", text, labels=["sink"])
            for sink, total in counted.sinks.items():
                family.add_metric([sink], getattr(total, name))
            yield family
        delivered = CounterMetricFamily(
            "crossfade_delivered_events",
            "Events delivered first by a transport",
            labels=["role", "transport"],
        )
        for key, transport in counted.transports.items():
            delivered.add_metric(key.split("/", 1), transport.delivered)
        yield delivered
        lost = CounterMetricFamily("crossfade_lost_events", "Events that readers gave up")
        lost.add_metric([], counted.lost)
        yield lost


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"crossfade_{name}", text, value=float(value))
