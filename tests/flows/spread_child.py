"""Flow runs that hash all content by their task runner's workers; prints what came of each."""

import asyncio
import sys
from typing import Any

import orjson
from prefect import flow

from crossfade import spreading
from crossfade.reconcile import reconcile
from tasks.settings_source import settings
from tasks.spreading import Spreading

spreading.SHARE_BLOCKS = 4


class Watched(Spreading):
    """Keeps every share that was handed out."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.shares: list[tuple[str, Any]] = []

    def _submit(self, store: str, *rest: Any) -> Any:
        future = super()._submit(store, *rest)
        self.shares.append((store, future))
        return future


@flow
async def scrub(runner: str, workers: int) -> dict[str, Any]:
    return await asyncio.to_thread(_reconciled, runner, workers)


def _reconciled(runner: str, workers: int) -> dict[str, Any]:
    section = settings().prefect.model_copy(update={"runner": runner, "workers": workers})
    with Watched(settings().model_copy(update={"prefect": section})) as shared:
        result = reconcile(settings(), content=True, wrap=shared.wrap).to_json()
    shares = [[store, type(one).__name__, one.state.name] for store, one in shared.shares]
    runs = {str(one.state.state_details.flow_run_id) for _, one in shared.shares}
    return {**result, "shares": sorted(shares), "flow_runs": len(runs - {"None"})}


if __name__ == "__main__":
    found = [asyncio.run(scrub("threads", 3)), asyncio.run(scrub("dask", 1))]
    sys.stdout.buffer.write(orjson.dumps(found))
