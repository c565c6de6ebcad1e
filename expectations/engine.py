"""Great Expectations, imported once, quiet and without statistics."""

import os
import warnings
from typing import Any

# Its documented switch; versions before 1.20 send usage statistics unless told not to.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
with warnings.catch_warnings():
    # It uses a module of Python's that is deprecated; nothing of that is ours to mend.
    warnings.simplefilter("ignore")
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.core.batch import Batch
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.row_conditions import Column
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

import pandas as pd

__all__ = ["Column", "batch_of", "gx", "gxe", "page_of"]


def batch_of(frame: pd.DataFrame) -> Batch:
    """The table as something Great Expectations validates, in a context that leaves no trace."""
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("frames")
    asset = source.add_dataframe_asset("frame")
    definition = asset.add_batch_definition_whole_dataframe("whole")
    return definition.get_batch({"dataframe": frame})


_VIEW = DefaultJinjaPageView()
"""One for all pages: it compiles some twenty templates."""


def page_of(result: Any) -> str:
    """The page of a suite's result; its links to a site around it lead to the list beside it."""
    page: str = _VIEW.render(ValidationResultsPageRenderer().render(result))
    return page.replace("../../../../index.html", "index.html").replace(
        "../../../../expectations/", "index.html#"
    )
