"""Sandtimer in orchestrators: files to copy, each complete in itself. They start the command `sandtimer`, so that an
orchestrator needs nothing of ours installed, and tell by its exit code what happened."""
