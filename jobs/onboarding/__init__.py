"""The first day: a config for a table, the checks of a machine, the demo."""
