"""Suites of expectations that people read and extend, run by Great Expectations.

Importing this package imports Great Expectations, which takes seconds: do it in a thread
beforehand (``preload``) and in a long-lived process. ``validate`` judges a reconciliation.

A suite is a module here with ``SUITE`` (its name), ``frame(material)`` (the table it judges,
None when it does not apply, as a pandas DataFrame whose index names its rows) and
``rules(material)`` (its ``Rule``s). Drop another module in and it runs as well.
"""

from expectations.rule import Material, Rule
from expectations.run import preload, suite_names, validate

__all__ = ["Material", "Rule", "preload", "suite_names", "validate"]
