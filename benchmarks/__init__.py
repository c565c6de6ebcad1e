"""Measurements of the data plane: ``make bench``. Speed is told, never demanded; loss is."""
