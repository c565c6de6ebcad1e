"""The flows of ``prefect.yaml``: what happens in which order, and nothing else.

Arithmetic, thresholds and calls are in ``tasks`` and below. No file here may have the name
of an importable module: Prefect can put this folder first on ``sys.path``.
"""
