"""Checks of a night as a whole: how many rows, of which segments, when, how often, under which columns."""
