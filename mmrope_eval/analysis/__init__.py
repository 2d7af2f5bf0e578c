"""Measures of a variant, without a model and with one, as tables and figures."""
