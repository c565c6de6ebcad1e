"""The rollout, the flags, the audit log, incidents and evidence, in one transaction each.

Synchronous; the service calls it from threads. Every method may raise SQLAlchemy's errors
when the database does not answer, which the server turns into 503.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from crossfade.control import schema
from crossfade.core.flags import Flags
from crossfade.core.gaps import Gap
from crossfade.core.rollout import Fact, Rollout, flags_of
from crossfade.errors import Refused, VersionConflict

__all__ = ["RolloutStore"]


class RolloutStore:
    """Implements I6: a rollout changes by compare-and-swap, with audit row and flags."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(write=True)

    def ping(self) -> None:
        """Whether the database answers."""
        with self._engine.connect() as connection:
            connection.execute(select(1))

    def initialise(self, initial: Flags, now_us: int) -> Flags:
        """The stored flags; ``initial`` (as version 1) when there are none yet.

        While no rollout was ever started, ``initial`` replaces what an earlier configuration
        left behind, as the next version.
        """
        with self._writes.begin() as connection:
            found = self._flags(connection, lock=True)
            if found is None:
                first = replace(initial, version=1)
                connection.execute(
                    insert(schema.flags).values(
                        id=1, version=1, changed_us=now_us, document=_text(first.to_json())
                    )
                )
                return first
            wanted = replace(initial, version=found.version)
            started = connection.execute(select(schema.rollouts.c.number).limit(1)).first()
            if started is None and wanted != found:
                return self._put_flags(connection, wanted, found.version, now_us)
            return found

    def current(self) -> tuple[Rollout | None, Flags]:
        """The active rollout (or the last one, or None) and the flags, as of one moment."""
        with self._engine.begin() as connection:
            flags = self._flags(connection)
            if flags is None:
                raise RuntimeError("the store was not initialised")
            return self._rollout(connection), flags

    def outrun(self, version: int, now_us: int) -> Flags:
        """Make the flags' version greater than ``version``; their content stays.

        An instance may know a later version than we do when the database was lost or
        restored: it would go on with flags that nobody can change any more.
        """
        with self._writes.begin() as connection:
            found = self._flags(connection, lock=True)
            if found is None:
                raise RuntimeError("the store was not initialised")
            if found.version > version:
                return found
            flags = self._put_flags(connection, found, version, now_us)
            detail = [Fact("flags_outrun", {"seen": version, "version": flags.version})]
            self._audit(connection, "", 0, "outrun", {}, detail, "server", now_us)
            return flags

    def set_breaker(
        self, sink: str, mode: str | None, command: Mapping[str, Any], actor: str, now_us: int
    ) -> Flags:
        """Put a sink's breakers into a mode (None: they decide alone), with an audit row."""
        with self._writes.begin() as connection:
            found = self._flags(connection, lock=True)
            if found is None:
                raise RuntimeError("the store was not initialised")
            breakers = {name: value for name, value in found.breakers.items() if name != sink}
            if mode is not None:
                breakers[sink] = mode
            flags = found
            if breakers != found.breakers:
                wanted = replace(found, breakers=breakers)
                flags = self._put_flags(connection, wanted, found.version, now_us)
            facts = [Fact("breaker_set", {"sink": sink, "mode": mode, "version": flags.version})]
            self._audit(connection, "", 0, "breaker", command, facts, actor, now_us)
            return flags

    def accept_gaps(self, gaps: Iterable[Gap], role: str, now_us: int) -> int:
        """An audit row for each gap that has none yet; answers how many those were."""
        table, verb = schema.audit, "acknowledge_gap"
        with self._writes.begin() as connection:
            self._flags(connection, lock=True)  # two servers at once would write rows twice
            rows = connection.execute(select(table.c.document).where(table.c.verb == verb))
            known = {Gap.from_json(orjson.loads(one)["command"]) for one in rows.scalars()}
            new = [gap for gap in dict.fromkeys(gaps) if gap not in known]
            for gap in new:
                actor = f"cli:{gap.by}"
                command = {"verb": verb, "actor": actor, "role": role, **gap.to_json()}
                facts = [Fact("gap_accepted", gap.to_json())]
                self._audit(connection, "", 0, verb, command, facts, actor, now_us)
        return len(new)

    def start(
        self, rollout: Rollout, facts: Iterable[Fact], command: Mapping[str, Any], now_us: int
    ) -> Flags:
        """Insert a new rollout.

        Raises:
            Refused: another one is active.
        """
        try:
            with self._writes.begin() as connection:
                connection.execute(
                    insert(schema.rollouts).values(
                        id=rollout.id,
                        version=rollout.version,
                        active=int(rollout.active),
                        document=_text(rollout.to_json()),
                    )
                )
                return self._record(connection, rollout, facts, command, now_us)
        except IntegrityError as error:
            raise Refused(_ANOTHER) from error

    def save(
        self,
        before: Rollout,
        after: Rollout,
        facts: Iterable[Fact],
        command: Mapping[str, Any],
        now_us: int,
    ) -> Flags:
        """Swap ``before`` for ``after``, with everything that follows; the flags after it.

        Raises:
            VersionConflict: the stored rollout is no longer ``before``.
            Refused: it would become active beside another.
        """
        try:
            with self._writes.begin() as connection:
                done = connection.execute(
                    update(schema.rollouts)
                    .where(schema.rollouts.c.id == before.id)
                    .where(schema.rollouts.c.version == before.version)
                    .values(
                        version=after.version,
                        active=int(after.active),
                        document=_text(after.to_json()),
                    )
                )
                if done.rowcount != 1:
                    raise VersionConflict(f"the rollout is no longer at version {before.version}")
                return self._record(connection, after, facts, command, now_us)
        except IntegrityError as error:
            raise Refused(_ANOTHER) from error

    def evidence(self, hash_: str) -> dict[str, Any] | None:
        """The frozen evidence of that hash."""
        with self._engine.begin() as connection:
            found = connection.execute(
                select(schema.evidence.c.document).where(schema.evidence.c.hash == hash_)
            ).scalar()
        return None if found is None else orjson.loads(found)

    def audit(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Audit rows with an id above ``after``, oldest first."""
        table = schema.audit
        query = select(table).where(table.c.id > after).order_by(table.c.id).limit(limit)
        with self._engine.begin() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            {
                # Column names are a subclass of str, which orjson refuses as keys.
                **{str(key): row[key] for key in row if key != "document"},
                **orjson.loads(row["document"]),
            }
            for row in rows
        ]

    def incidents(self, limit: int) -> list[dict[str, Any]]:
        """Incidents, newest first."""
        table = schema.incidents
        query = select(table).order_by(table.c.opened_us.desc(), table.c.id.desc()).limit(limit)
        with self._engine.begin() as connection:
            return [_incident(row) for row in connection.execute(query).mappings()]

    def incident(self, id_: str) -> dict[str, Any] | None:
        """One incident."""
        query = select(schema.incidents).where(schema.incidents.c.id == id_)
        with self._engine.begin() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _incident(row)

    def _record(
        self,
        connection: Connection,
        rollout: Rollout,
        facts: Iterable[Fact],
        command: Mapping[str, Any],
        now_us: int,
    ) -> Flags:
        facts = tuple(facts)
        self._audit(
            connection,
            rollout.id,
            rollout.version,
            str(command.get("verb", "start")),
            command,
            facts,
            rollout.actor,
            now_us,
        )
        for number, fact in enumerate(facts):
            self._apply_fact(connection, rollout, fact, number, now_us)
        found = self._flags(connection, lock=True)
        if found is None:
            raise RuntimeError("the store was not initialised")
        wanted = replace(flags_of(rollout, found.version), breakers=found.breakers)
        if wanted == found:
            return found
        return self._put_flags(connection, wanted, found.version, now_us)

    def _apply_fact(
        self, connection: Connection, rollout: Rollout, fact: Fact, number: int, now_us: int
    ) -> None:
        detail = dict(fact.detail)
        match fact.kind:
            case "evidence":
                connection.execute(
                    insert(schema.evidence).values(
                        hash=detail["hash"],
                        rollout_id=rollout.id,
                        at_us=detail["at_us"],
                        document=_text(detail),
                    )
                )
            case "incident_opened":
                document = {**detail, "opened_by": detail["actor"], "changes": []}
                del document["actor"]
                connection.execute(
                    insert(schema.incidents).values(
                        id=detail["incident_id"],
                        rollout_id=rollout.id,
                        opened_us=now_us,
                        document=_text(document),
                    )
                )
            case "incident_changed" | "incident_closed":
                self._change_incident(connection, detail, fact.kind, now_us)
            case "event":
                # The same change always makes the same id, so that a repeat is one event.
                name = f"crossfade:{rollout.id}:{rollout.version}:{number}"
                connection.execute(
                    insert(schema.outbox).values(
                        id=str(uuid5(NAMESPACE_URL, name)),
                        created_us=now_us,
                        attempts=0,
                        last_error="",
                        document=_text(detail),
                    )
                )
            case _:
                pass  # phase, flags, approvals: in the rollout's document and the audit row

    def _change_incident(
        self, connection: Connection, detail: dict[str, Any], kind: str, now_us: int
    ) -> None:
        table = schema.incidents
        where = table.c.id == detail.pop("incident_id")
        stored = connection.execute(
            select(table.c.document).where(where).with_for_update()
        ).scalar_one()
        document = orjson.loads(stored)
        closed: dict[str, Any] = {}
        if kind == "incident_closed":
            closed = {"closed_us": now_us}
            document |= {
                "root_cause": detail["root_cause"],
                "fix": detail["fix"],
                "closed_by": detail["actor"],
            }
        elif "figures" in detail:
            document["figures"] = detail["figures"]
        else:
            document["changes"] = [*document["changes"], {"at_us": now_us, **detail}][-100:]
        connection.execute(update(table).where(where).values(document=_text(document), **closed))

    def _audit(
        self,
        connection: Connection,
        rollout_id: str,
        version: int,
        verb: str,
        command: Mapping[str, Any],
        facts: Iterable[Fact],
        actor: str,
        now_us: int,
    ) -> None:
        document = {"command": dict(command), "facts": [fact.to_json() for fact in facts]}
        connection.execute(
            insert(schema.audit).values(
                at_us=now_us,
                actor=actor,
                verb=verb,
                rollout_id=rollout_id,
                version=version,
                document=_text(document),
            )
        )

    def _rollout(self, connection: Connection) -> Rollout | None:
        table = schema.rollouts
        query = select(table.c.document).order_by(table.c.active.desc(), table.c.number.desc())
        found = connection.execute(query.limit(1)).scalar()
        return None if found is None else Rollout.from_json(orjson.loads(found))

    def _flags(self, connection: Connection, *, lock: bool = False) -> Flags | None:
        query = select(schema.flags.c.document).where(schema.flags.c.id == 1)
        found = connection.execute(query.with_for_update() if lock else query).scalar()
        return None if found is None else Flags.from_json(orjson.loads(found))

    def _put_flags(self, connection: Connection, flags: Flags, version: int, now_us: int) -> Flags:
        """Store ``flags`` with the version after ``version``."""
        new = replace(flags, version=version + 1)
        connection.execute(
            update(schema.flags)
            .where(schema.flags.c.id == 1)
            .values(version=new.version, changed_us=now_us, document=_text(new.to_json()))
        )
        return new


_ANOTHER = "another rollout is active: finish it, or roll it back and cancel it, first"


def _incident(row: Any) -> dict[str, Any]:
    document = orjson.loads(row["document"])
    document.pop("incident_id", None)
    return {
        "id": row["id"],
        "rollout_id": row["rollout_id"],
        "opened_us": row["opened_us"],
        "closed_us": row["closed_us"],
        **document,
    }


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()
