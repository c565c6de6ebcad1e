"""Comparisons shared out among a task runner's workers: threads, or a Dask cluster."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from contextvars import copy_context
from threading import Lock
from types import TracebackType
from typing import Any, Self

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from crossfade.comparison import open_readers
from crossfade.errors import JournalUnavailable, StoreUnavailable, UsageError
from crossfade.ports import StoreReader
from crossfade.settings import Settings
from crossfade.spreading import Work, digests_as_work, shareable
from tasks.settings_source import settings

__all__ = ["Spreading", "hash_blocks"]

IN_FLIGHT = 16
"""Shares that are handed out before the answer of the first of them is taken."""
ANSWER_S = 600.0
"""Longest wait for a share. Its task has no time-out of Prefect's (which could not end a thread):
its calls have those of the store."""


@task(
    name="hash-blocks",
    task_run_name="hash blocks of {store}",
    retries=2,
    retry_delay_seconds=[2, 5],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def hash_blocks(store: str, ranges: Work, block: int) -> Work:
    """One worker's share. It opens the store by its own settings: no key travels with the work."""
    readers, errors = open_readers(settings(), [store])
    if store in errors:
        raise (JournalUnavailable if store == "journal" else StoreUnavailable)(errors[store])
    try:
        return digests_as_work(readers[store], ranges, block)
    finally:
        readers[store].close()


class Spreading(AbstractContextManager["Spreading"]):
    """Shares the stores that workers reach by URL: the table, and exported journals.

    The runner (``prefect.runner``) is started when there is something to share, and stopped on
    leaving. A journal or recording that is a file of this host is read here.
    """

    def __init__(self, found: Settings) -> None:
        self._settings = found
        self._exits = ExitStack()
        self._runner: TaskRunner[Any] | None = None
        # Comparisons ask from threads of their own, which know of no flow run.
        self._context = copy_context()
        self._lock = Lock()
        self._stores = {"supabase", *(["journal"] if found.reconcile.journals else [])}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.__exit__(kind, error, trace)

    def wrap(self, name: str, reader: StoreReader) -> StoreReader:
        """The reader of a store, shared if it can be."""
        return shareable(reader, self._share) if name in self._stores else reader

    def _share(self, store: str, shares: Sequence[Work], block: int) -> Iterator[Work]:
        waiting = [self._submit(store, ranges, block) for ranges in shares[:IN_FLIGHT]]
        for following in range(IN_FLIGHT, len(shares) + IN_FLIGHT):
            answer: Work = waiting.pop(0).result(timeout=ANSWER_S)
            if following < len(shares):
                waiting.append(self._submit(store, shares[following], block))
            yield answer

    def _submit(self, store: str, ranges: Work, block: int) -> PrefectFuture[Work]:
        parameters = {"store": store, "ranges": ranges, "block": block}
        with self._lock:  # two stores are asked at once, and share one cluster
            if self._runner is None:
                self._runner = self._exits.enter_context(_runner(self._settings))
            found: PrefectFuture[Work] = self._context.run(
                self._runner.submit, hash_blocks, parameters
            )
        return found


def _runner(found: Settings) -> TaskRunner[Any]:
    section = found.prefect
    if section.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=section.workers)
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise UsageError(
            f"prefect.runner = 'dask' needs the extra: pip install 'crossfade[dask]' ({error})"
        ) from error
    if section.dask_address:
        return DaskTaskRunner(address=section.dask_address)
    return DaskTaskRunner(
        cluster_kwargs={
            "n_workers": section.workers,
            "threads_per_worker": 1,
            "dashboard_address": None,
        }
    )
