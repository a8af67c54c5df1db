"""Where tables live: one place turns a table's name and storage options into a URI and a pyarrow file system, so that
nothing else needs to know about folders, object stores or credentials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow.fs as pafs

from jobs.common.errors import ConfigError
from jobs.common.s3 import add_environment, is_s3, open_s3

_CATALOG_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*){1,2}")


@dataclass(frozen=True)
class TableRef:
    """A table as the config names it: a path, a URI, or a catalog name; the options may hold secrets. Those of a table
    on S3 include what the environment says (`jobs.common.s3`)."""

    name: str
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if is_s3(self.name):
            # Here, so that every reader, writer and executor gets the same access, wherever the table's name came from.
            object.__setattr__(self, "storage_options", add_environment(self.storage_options))

    @property
    def in_catalog(self) -> bool:
        """Whether the name is `schema.table` or `catalog.schema.table` and no folder of that name is here."""
        return bool(_CATALOG_NAME.fullmatch(self.name)) and not Path(self.name).exists()

    @property
    def uri(self) -> str:
        """An absolute path, or a URI of an object store.

        Raises:
            ConfigError: a catalog name, which only Spark can resolve.
        """
        if self.in_catalog:
            raise ConfigError(
                "a path or a URI of a Delta table",
                f"'{self.name}', a catalog name",
                f"use --engine spark, or write ./{self.name} if it is a folder",
            )
        parts = urlsplit(self.name)
        if parts.scheme == "file":
            return unquote(parts.path)
        if "://" in self.name:
            return self.name
        return str(Path(self.name).expanduser().absolute())

    @property
    def identity(self) -> str:
        """Equal for two names of one table, as far as names can tell."""
        if self.in_catalog:
            return self.name.lower()
        uri = self.uri
        return re.sub(r"^s3[an]://", "s3://", uri).rstrip("/") if "://" in uri else str(Path(uri).resolve())


def open_filesystem(uri: str, storage_options: Mapping[str, str]) -> pafs.FileSystem:
    """A pyarrow file system whose root is the table's folder; others than files and S3 go through deltalake."""
    if is_s3(uri):
        return open_s3(uri, storage_options)
    if "://" in uri:
        from deltalake.fs import DeltaStorageHandler

        return pafs.PyFileSystem(DeltaStorageHandler(uri, dict(storage_options)))
    return pafs.SubTreeFileSystem(uri, pafs.LocalFileSystem())


def create_folder(filesystem: pafs.FileSystem, path: str) -> None:
    """Make a folder of a table; object stores have none, and pyarrow would make an empty object for it."""
    if isinstance(filesystem, pafs.SubTreeFileSystem) and isinstance(filesystem.base_fs, pafs.LocalFileSystem):
        filesystem.create_dir(path, recursive=True)


def create_root(uri: str) -> None:
    """Make the table's folder; object stores have none."""
    if "://" not in uri:
        pafs.LocalFileSystem().create_dir(uri, recursive=True)
