"""Where Sandtimer keeps what it fetches or generates for itself: a Java wrapper and Spark's jars. Inside a virtual
environment that is the environment's own folder, so removing the environment removes everything; elsewhere it is the
user's cache folder."""

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """The folder for fetched or generated files; not created here."""
    prefix = Path(sys.prefix)
    if sys.prefix != sys.base_prefix and os.access(prefix, os.W_OK):
        return prefix / "sandtimer"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sandtimer"
