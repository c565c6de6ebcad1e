"""Great Expectations, imported once, quiet and without statistics."""

import os
import warnings

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

import pandas as pd

__all__ = ["Column", "batch_of", "gx", "gxe"]


def batch_of(frame: pd.DataFrame) -> Batch:
    """The table as something Great Expectations validates, in a context that leaves no trace."""
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("frames")
    asset = source.add_dataframe_asset("frame")
    definition = asset.add_batch_definition_whole_dataframe("whole")
    return definition.get_batch({"dataframe": frame})
