"""What a reconciliation is measured against; each in a process of its own.

``python -m benchmarks.reconcile_rivals NAME ORDER.json`` prints ``{"seconds", "found"}``: the time
of the work alone, without imports; ``found`` is how many rows it says differ. They compare two
stores only, the journal's rows and the table, and know no deliveries, gaps or watermarks.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

__all__ = ["COLUMNS", "RIVALS", "export"]

COLUMNS = ("id", "type", "subject", "category", "data", "checksum")


def floor(order: dict[str, Any]) -> int:
    """The least that anybody does who compares rows outside the database: read (id, hash)."""
    count = 0
    with (
        psycopg.connect(order["database_url"]) as connection,
        connection.cursor().copy(
            "COPY (SELECT id, hash FROM crossfade.events) TO STDOUT (FORMAT BINARY)"
        ) as copy,
    ):
        copy.set_types(["text", "int8"])
        for _ in copy.rows():
            count += 1
    return count


def hashing(order: dict[str, Any]) -> int:
    """PostgreSQL by itself, with its parallel workers, hashes the content of every row anew.

    What a content check of the table alone can not be faster than.
    """
    with psycopg.connect(order["database_url"]) as connection:
        row = connection.execute(
            "SELECT count(*) FILTER (WHERE crossfade.content_hash_inline_v1("
            'e.source, e.epoch, e.topic, e.partition, e.sequence, e.id, e.type, e."time", '
            "e.subject, e.category, e.data) <> e.hash) FROM crossfade.events e"
        ).fetchone()
    return int(row[0]) if row else -1


def reladiff(order: dict[str, Any]) -> int:
    """Reladiff: checksums of segments in the database, then rows, over the content."""
    from reladiff import connect_to_table, diff_tables

    facts = psycopg.conninfo.conninfo_to_dict(order["database_url"])
    database = {"driver": "postgresql", **{n: facts[n] for n in ("host", "user", "dbname")}}
    sides = [
        connect_to_table(
            database, name, "id", extra_columns=("type", "subject", "category", "data")
        )
        for name in ("bench.journal", "crossfade.events")
    ]
    return sum(1 for _ in diff_tables(*sides))


def pandas(order: dict[str, Any]) -> int:
    """pandas: an outer merge of the exported rows."""
    import pandas as pd

    sides = [pd.read_csv(order[name], dtype=str) for name in ("journal_csv", "table_csv")]
    merged = sides[0].merge(sides[1], on="id", how="outer", suffixes=("", "_table"))
    wrong = merged["data"].ne(merged["data_table"])
    for name in COLUMNS[1:]:
        wrong |= merged[name].ne(merged[f"{name}_table"])
    return int(wrong.sum())


def duckdb(order: dict[str, Any]) -> int:
    """DuckDB: a full outer join of the exported rows."""
    import duckdb as engine

    differ = " OR ".join(f"j.{name} IS DISTINCT FROM t.{name}" for name in COLUMNS)
    with engine.connect() as connection:
        row = connection.execute(
            f"SELECT count(*) FROM read_csv('{order['journal_csv']}', all_varchar = true) j "
            f"FULL JOIN read_csv('{order['table_csv']}', all_varchar = true) t "
            f"ON j.id = t.id WHERE {differ}"
        ).fetchone()
    return int(row[0]) if row else -1


RIVALS = {
    "floor": floor,
    "hashing": hashing,
    "reladiff": reladiff,
    "pandas": pandas,
    "duckdb": duckdb,
}


def export(database_url: str, query: str, path: Path) -> None:
    """A query's rows as a CSV file, by COPY."""
    with (
        psycopg.connect(database_url) as connection,
        path.open("wb") as file,
        connection.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT CSV, HEADER)") as copy,
    ):
        for chunk in copy:
            file.write(chunk)


def main() -> None:
    """Run one of them."""
    name, order = sys.argv[1:]
    values = json.loads(Path(order).read_text())
    started = time.perf_counter()
    found = RIVALS[name](values)
    print(json.dumps({"seconds": time.perf_counter() - started, "found": found}))


if __name__ == "__main__":
    main()
