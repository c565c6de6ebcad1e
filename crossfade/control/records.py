"""What the server is told: reconciliations and telemetry; and what it has to tell: the outbox."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Engine, and_, delete, func, insert, select, update

from crossfade.control import schema
from crossfade.core.canonical import canonical_json
from crossfade.core.evaluation import StoredReconciliation
from crossfade.core.telemetry import Report
from crossfade.core.telemetry_totals import Window
from crossfade.core.telemetry_windows import MAX_INSTANCES, Instance
from crossfade.core.verdict import Verdict
from crossfade.errors import UsageError

__all__ = ["OutboxEvent", "RecordStore"]

MAX_RECONCILIATIONS = 10_000
"""Results that are kept; older ones are pruned."""

_CONCLUSIVE = (Verdict.PASS.value, Verdict.FAIL.value)


class OutboxEvent(NamedTuple):
    """An event that Prefect has not taken yet."""

    id: str
    created_us: int
    attempts: int
    name: str
    payload: dict[str, Any]


class RecordStore:
    """Rows beside the rollout; synchronous, called from threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(write=True)

    def add_reconciliation(self, document: Mapping[str, Any], now_us: int) -> str:
        """Store a result and return its hash; a repeated one is stored once.

        Raises:
            UsageError: it is not a result of the form of the protocol page.
        """
        try:
            verdict = Verdict(document["verdict"]).value
            float(document["duration_ms"])
            int(document["discrepancy_count"])
            dict(document["stores"])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"reconciliation: {type(error).__name__}: {error}") from error
        digest = hashlib.sha256(canonical_json(dict(document)).encode()).hexdigest()
        table = schema.reconciliations
        with self._writes.begin() as connection:
            known = connection.execute(select(table.c.number).where(table.c.hash == digest)).first()
            if known is None:
                connection.execute(
                    insert(table).values(
                        hash=digest,
                        stored_us=now_us,
                        verdict=verdict,
                        document=orjson.dumps(document).decode(),
                    )
                )
        return digest

    def reconciliation(self, digest: str) -> StoredReconciliation | None:
        """The result of that hash."""
        return self._one(schema.reconciliations.c.hash == digest)

    def conclusive(self) -> StoredReconciliation | None:
        """The last result that passed or failed; one that could not tell does not replace it."""
        return self._one(schema.reconciliations.c.verdict.in_(_CONCLUSIVE))

    def _one(self, condition: Any) -> StoredReconciliation | None:
        table = schema.reconciliations
        query = select(table).where(condition).order_by(table.c.number.desc()).limit(1)
        with self._engine.begin() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        document = orjson.loads(row["document"])
        # When it began, by our clock: whoever made it may have another.
        began_us = row["stored_us"] - round(float(document["duration_ms"]) * 1_000)
        return StoredReconciliation(hash=row["hash"], began_us=began_us, document=document)

    def reconciliations(self, limit: int) -> list[dict[str, Any]]:
        """The last results, newest first."""
        table = schema.reconciliations
        query = select(table).order_by(table.c.number.desc()).limit(limit)
        with self._engine.begin() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            {**orjson.loads(row["document"]), "hash": row["hash"], "stored_us": row["stored_us"]}
            for row in rows
        ]

    def add_telemetry(self, windows: Iterable[Window], instances: Iterable[Instance]) -> None:
        """Store closed windows and the last report of each instance."""
        rows = [
            {
                "from_us": one.from_us,
                "to_us": one.to_us,
                "document": orjson.dumps(one.to_json()).decode(),
            }
            for one in windows
        ]
        latest = [
            {
                "instance": one.report.instance,
                "received_us": one.received_us,
                "document": orjson.dumps(one.report.to_json()).decode(),
            }
            for one in instances
        ]
        with self._writes.begin() as connection:
            if rows:
                connection.execute(insert(schema.telemetry), rows)
            if latest:
                names = [row["instance"] for row in latest]
                table = schema.instances
                for start in range(0, len(names), 500):
                    some = names[start : start + 500]
                    connection.execute(delete(table).where(table.c.instance.in_(some)))
                connection.execute(insert(table), latest)

    def windows(self, since_us: int, limit: int | None = None) -> list[Window]:
        """Telemetry windows that ended after ``since_us``, oldest first."""
        table = schema.telemetry
        query = (
            select(table.c.document)
            .where(table.c.to_us > since_us)
            .order_by(table.c.to_us, table.c.number)
            .limit(limit)
        )
        with self._engine.begin() as connection:
            found = connection.execute(query).scalars().all()
        return [Window.from_json(orjson.loads(one)) for one in found]

    def instances(self) -> list[Instance]:
        """The last report of each instance."""
        table = schema.instances
        query = select(table).order_by(table.c.received_us.desc()).limit(MAX_INSTANCES)
        with self._engine.begin() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Instance(Report.from_json(orjson.loads(row["document"])), row["received_us"])
            for row in rows
        ]

    def prune(self, before_us: int) -> None:
        """Forget telemetry, instances and delivered events from before ``before_us``."""
        newest = select(func.max(schema.reconciliations.c.number)).scalar_subquery()
        with self._writes.begin() as connection:
            for table, column in (
                (schema.telemetry, schema.telemetry.c.to_us),
                (schema.instances, schema.instances.c.received_us),
                (schema.outbox, schema.outbox.c.delivered_us),
                (schema.alerts, schema.alerts.c.tried_us),
            ):
                connection.execute(delete(table).where(column < before_us))
            connection.execute(
                delete(schema.reconciliations).where(
                    schema.reconciliations.c.number <= newest - MAX_RECONCILIATIONS
                )
            )

    def undelivered(self, limit: int = 100) -> list[OutboxEvent]:
        """Events that Prefect has not taken yet, oldest first."""
        table = schema.outbox
        query = (
            select(table)
            .where(table.c.delivered_us.is_(None))
            .order_by(table.c.created_us, table.c.id)
            .limit(limit)
        )
        with self._engine.begin() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            OutboxEvent(
                row["id"], row["created_us"], row["attempts"], **orjson.loads(row["document"])
            )
            for row in rows
        ]

    def settle(self, id_: str, now_us: int | None, error: str = "") -> None:
        """Record an attempt: done at ``now_us``, or not yet (None) because of ``error``."""
        table = schema.outbox
        with self._writes.begin() as connection:
            connection.execute(
                update(table)
                .where(table.c.id == id_)
                .values(delivered_us=now_us, last_error=error[:500], attempts=table.c.attempts + 1)
            )

    def untold(
        self, target: str, since_us: int, attempts: int, limit: int = 100
    ) -> list[OutboxEvent]:
        """Events since ``since_us`` that ``target`` was not told, oldest first.

        Those that were tried ``attempts`` times are given up.
        """
        table, alerts = schema.outbox, schema.alerts
        tried = and_(alerts.c.event == table.c.id, alerts.c.target == target)
        query = (
            select(table, alerts.c.attempts.label("tries"))
            .outerjoin(alerts, tried)
            .where(table.c.created_us >= since_us)
            .where(alerts.c.told_us.is_(None))
            .where(func.coalesce(alerts.c.attempts, 0) < attempts)
            .order_by(table.c.created_us, table.c.id)
            .limit(limit)
        )
        with self._engine.begin() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            OutboxEvent(
                row["id"], row["created_us"], row["tries"] or 0, **orjson.loads(row["document"])
            )
            for row in rows
        ]

    def told(self, event: str, target: str, now_us: int, error: str) -> None:
        """Record that ``target`` was told of ``event``, or was not because of ``error``."""
        table = schema.alerts
        where = and_(table.c.event == event, table.c.target == target)
        values = {"told_us": None if error else now_us, "tried_us": now_us, "last_error": error}
        with self._writes.begin() as connection:
            done = connection.execute(
                update(table).where(where).values(attempts=table.c.attempts + 1, **values)
            )
            if done.rowcount == 0:
                connection.execute(
                    insert(table).values(event=event, target=target, attempts=1, **values)
                )
