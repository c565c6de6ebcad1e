"""Pages that stay with the run in Prefect."""

from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE

__all__ = ["keep_page"]


@task(
    name="artifact",
    task_run_name="keep {key}",
    retries=2,
    retry_delay_seconds=2,
    timeout_seconds=30,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def keep_page(key: str, markdown: str, description: str) -> None:
    """Keep a markdown page under ``key``; later pages of the key are its later versions."""
    await acreate_markdown_artifact(key=key, markdown=markdown, description=description)
