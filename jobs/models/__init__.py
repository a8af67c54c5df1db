"""Bundles and where they are kept: in a folder, in a registry; and whether one may replace another."""
