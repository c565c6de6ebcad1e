"""Database errors in the shape and with the status that PostgREST gives them.

The table is the one in PostgREST's reference ("Errors", "HTTP Status Codes").
"""

from typing import Any

import psycopg

from crossfade.local.supabase.database import DatabaseGone, NoConnectionFree
from crossfade.local.supabase.gateway import Refusal

__all__ = ["pgrst", "refusal"]

# The longest prefix that fits decides.
_STATUS = {
    "08": 503, "09": 500, "0L": 403, "0P": 403, "23503": 409, "23505": 409, "25006": 405,
    "25": 500, "28": 403, "2D": 500, "38": 500, "39": 500, "3B": 500, "40": 500, "53400": 500,
    "53": 503, "54": 500, "55": 500, "57": 500, "58": 500, "F0": 500, "HV": 500,
    "P0001": 400, "P0": 500, "XX": 500, "42883": 404, "42P01": 404, "42P17": 500,
}  # fmt: skip


def pgrst(
    status: int, code: str, message: str, *, details: Any = None, hint: str | None = None
) -> Refusal:
    """An error of PostgREST's own."""
    return Refusal(status, {"code": code, "details": details, "hint": hint, "message": message})


def refusal(error: Exception, role: str) -> Refusal:
    """What PostgREST answers when the database says this to a caller of ``role``."""
    if isinstance(error, NoConnectionFree):
        return pgrst(504, "PGRST003", "Timed out acquiring connection from connection pool.")
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        state = error.sqlstate
        return pgrst(
            _status(state, role),
            state,
            error.diag.message_primary or "",
            details=error.diag.message_detail,
            hint=error.diag.message_hint,
        )
    if isinstance(error, psycopg.OperationalError | DatabaseGone):
        return pgrst(503, "PGRST000", "Database connection error. Retrying the connection.")
    return pgrst(500, "PGRSTX00", f"Internal error: {type(error).__name__}")


def _status(state: str, role: str) -> int:
    if state == "42501":
        return 401 if role == "anon" else 403
    return next((_STATUS[state[:n]] for n in (5, 2) if state[:n] in _STATUS), 400)
