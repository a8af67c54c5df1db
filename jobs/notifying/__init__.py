"""Tells somebody: new alarms, incidents and failed runs, once each, by webhook, e-mail or a command."""
