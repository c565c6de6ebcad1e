"""Steady load under random faults: ``make soak``."""
