"""The control server's tables, the same on SQLite and PostgreSQL. Documents are JSON text."""

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from crossfade.errors import SettingsError

__all__ = [
    "SCHEMA_VERSION",
    "alerts",
    "audit",
    "evidence",
    "flags",
    "incidents",
    "instances",
    "open_engine",
    "outbox",
    "reconciliations",
    "rollouts",
    "telemetry",
]

SCHEMA_VERSION = 1
"""A database written by a later version is refused and left untouched."""

_SYNCHRONOUS = "FULL"  # a rollout's step survives a power failure

# SQLite numbers rows by itself only in a column of exactly this type.
_Serial = BigInteger().with_variant(Integer, "sqlite")
_metadata = MetaData()

meta = Table(
    "control_meta",
    _metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
rollouts = Table(
    "control_rollouts",
    _metadata,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("version", BigInteger, nullable=False),
    Column("active", Integer, nullable=False),
    Column("document", Text, nullable=False),
)
# I6: one active rollout, held by the database and not by our good intentions.
Index(
    "control_one_active_rollout",
    rollouts.c.active,
    unique=True,
    sqlite_where=rollouts.c.active == 1,
    postgresql_where=rollouts.c.active == 1,
)
flags = Table(
    "control_flags",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("changed_us", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
audit = Table(
    "control_audit",
    _metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("at_us", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("verb", String(64), nullable=False),
    Column("rollout_id", String(64), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
incidents = Table(
    "control_incidents",
    _metadata,
    Column("id", String(96), primary_key=True),
    Column("rollout_id", String(64), nullable=False),
    Column("opened_us", BigInteger, nullable=False),
    Column("closed_us", BigInteger),
    Column("document", Text, nullable=False),
)
evidence = Table(
    "control_evidence",
    _metadata,
    Column("hash", String(64), primary_key=True),
    Column("rollout_id", String(64), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
reconciliations = Table(
    "control_reconciliations",
    _metadata,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("stored_us", BigInteger, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("document", Text, nullable=False),
)
telemetry = Table(
    "control_telemetry",
    _metadata,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("from_us", BigInteger, nullable=False),
    Column("to_us", BigInteger, nullable=False, index=True),
    Column("document", Text, nullable=False),
)
instances = Table(
    "control_instances",
    _metadata,
    Column("instance", Text, primary_key=True),
    Column("received_us", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
outbox = Table(
    "control_outbox",
    _metadata,
    Column("id", String(36), primary_key=True),
    Column("created_us", BigInteger, nullable=False),
    Column("delivered_us", BigInteger, index=True),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text, nullable=False),
    Column("document", Text, nullable=False),
)
alerts = Table(
    "control_alerts",
    _metadata,
    Column("event", String(36), primary_key=True),
    Column("target", String(16), primary_key=True),
    Column("told_us", BigInteger),
    Column("tried_us", BigInteger, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text, nullable=False),
)


def open_engine(url: str) -> Engine:
    """Connect, create the tables that are missing, and check the schema's version.

    A transaction whose connection has the execution option ``write`` takes SQLite's write
    lock at its begin, so that two of them queue instead of failing at their first write.

    Raises:
        SettingsError: the URL is not one, the database can not be opened, or it was
            written by a later version.
    """
    engine: Engine | None = None
    try:
        target = make_url(url)
        sqlite = target.get_backend_name() == "sqlite"
        # A database that does not answer must not hold up a rollback for ever.
        arguments = {"timeout": 10.0} if sqlite else {"connect_timeout": 5}
        engine = create_engine(
            target, connect_args=arguments, pool_pre_ping=not sqlite, pool_timeout=10, pool_size=4
        )
        if sqlite:
            _tune_sqlite(engine)
        with engine.execution_options(write=True).begin() as connection:
            _metadata.create_all(connection)
            _check_version(connection.execute(_VERSION).scalar())
            if connection.execute(_VERSION).scalar() is None:
                connection.execute(insert(meta).values(key="schema", value=str(SCHEMA_VERSION)))
    except (ArgumentError, SQLAlchemyError, ModuleNotFoundError, SettingsError) as error:
        if engine is not None:
            engine.dispose()
        if isinstance(error, SettingsError):
            raise
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise SettingsError([f"control.database_url: can not be opened: {reason}"]) from error
    return engine


_VERSION = select(meta.c.value).where(meta.c.key == "schema")


def _check_version(found: str | None) -> None:
    if found is not None and int(found) > SCHEMA_VERSION:
        raise SettingsError(
            [
                f"control.database_url: schema {found} was written by a later version of "
                f"Crossfade; this one knows {SCHEMA_VERSION}"
            ]
        )


def _tune_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _on_connect(connection, _record):  # type: ignore[no-untyped-def]
        # sqlite3's own implicit transactions begin too late; ours begin explicitly below.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={_SYNCHRONOUS}")
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection):  # type: ignore[no-untyped-def]
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
