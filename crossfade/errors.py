"""The tree of Crossfade's errors.

::

    CrossfadeError
    ├── UsageError                  the person can mend it: exit status 2, one line
    │   ├── SettingsError           configuration that does not validate
    │   ├── InvalidEvent            an event that can not be accepted
    │   ├── PortTaken               a fixed port is in use
    │   └── Refused                 a command the rollout does not allow now
    │       ├── VersionConflict     the rollout moved since it was read
    │       └── ApprovalRefused     evidence, stage or attempt does not match
    ├── JournalError
    │   ├── JournalUnavailable      disk full, read-only, corrupt
    │   ├── JournalLocked           another process is the writer
    │   └── JournalTooNew           written by a later version (also a UsageError)
    ├── StoreError
    │   ├── StoreUnavailable        may succeed later: retry
    │   │   └── StoreUnreachable    no connection could be made, or it broke, or no answer in time
    │   └── StoreRejected           will never succeed: do not retry, bisect
    ├── ControlUnavailable          the control server does not answer
    │   └── ControlDenied           it refuses the token (also a UsageError)
    ├── PrefectUnavailable          Prefect's server does not answer
    ├── StackError                  a service of the embedded stack failed
    └── Closed                      the object was closed
"""

__all__ = [
    "ApprovalRefused",
    "Closed",
    "ControlDenied",
    "ControlUnavailable",
    "CrossfadeError",
    "InvalidEvent",
    "JournalError",
    "JournalLocked",
    "JournalTooNew",
    "JournalUnavailable",
    "PortTaken",
    "PrefectUnavailable",
    "Refused",
    "SettingsError",
    "StackError",
    "StoreError",
    "StoreRejected",
    "StoreUnavailable",
    "StoreUnreachable",
    "UsageError",
    "VersionConflict",
]


class CrossfadeError(Exception):
    """Base of every error that Crossfade raises on purpose."""


class UsageError(CrossfadeError):
    """Something a person can mend: printed as one line, exit status 2."""


class SettingsError(UsageError):
    """The configuration does not validate; the message lists every fault, one a line."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(faults))


class InvalidEvent(UsageError):
    """An event can not be accepted: what is wrong with which field."""


class PortTaken(UsageError):
    """A port fixed by an option is in use."""


class Refused(UsageError):
    """The rollout does not allow this command now; the message says why."""


class VersionConflict(Refused):
    """The rollout has moved since it was read: read it again and decide anew."""


class ApprovalRefused(Refused):
    """An approval does not bind: other stage, other attempt, other or worse evidence, expired."""


class JournalError(CrossfadeError):
    """The journal can not do what was asked."""


class JournalUnavailable(JournalError):
    """The journal can not be written or read (full disk, read-only, corrupt page)."""


class JournalLocked(JournalError, UsageError):
    """Another process writes this journal; the message names it."""


class JournalTooNew(JournalError, UsageError):
    """The journal was written by a later version of Crossfade; it is left untouched."""


class StoreError(CrossfadeError):
    """A Supabase project or another event store refused or failed."""


class StoreUnavailable(StoreError):
    """The store may answer later (connection, time-out, 5xx, 429): retry with backoff."""


class StoreUnreachable(StoreUnavailable):
    """No connection: refused, reset, cut or silent. Breakers count these apart and trip sooner."""


class StoreRejected(StoreError):
    """The store will never take this as it is (4xx): do not retry."""


class ControlUnavailable(CrossfadeError):
    """The control server does not answer; the last known flags stay in force."""


class ControlDenied(ControlUnavailable, UsageError):
    """The control server refuses the token; the last known flags stay in force."""


class PrefectUnavailable(CrossfadeError):
    """Prefect's server does not answer; nothing in the data plane waits for it."""


class StackError(CrossfadeError):
    """A service of the embedded stack did not start or died; the message names its log."""


class Closed(CrossfadeError):
    """The publisher, subscriber or transport was closed."""
