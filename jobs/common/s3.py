"""Stores that speak S3. One place says how they are reached: the environment's AWS_* variables and a config's
`storage_options`, in delta-rs's names, become what deltalake, pyarrow and Hadoop's s3a call them. The values may be
secrets: they travel to executors with the work, and nothing prints them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

import pyarrow.fs as pafs

_SCHEME: Final = re.compile(r"s3[an]?://")
KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
ENDPOINT, REGION, ALLOW_HTTP = "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ALLOW_HTTP"
_VARIABLES: Final = {**{name: name for name in (*KEYS, ENDPOINT, REGION)}, "AWS_DEFAULT_REGION": REGION}
_S3A: Final = {
    "AWS_ACCESS_KEY_ID": "access.key",
    "AWS_SECRET_ACCESS_KEY": "secret.key",
    "AWS_SESSION_TOKEN": "session.token",
    ENDPOINT: "endpoint",
    REGION: "endpoint.region",
}
# By default s3a tries a store that does not answer for a quarter of an hour.
_S3A_PATIENCE: Final = {
    "fs.s3a.attempts.maximum": "2",
    "fs.s3a.retry.limit": "3",
    "fs.s3a.connection.establish.timeout": "5s",
}


def is_s3(name: str) -> bool:
    """Whether a table's name is a URI of such a store."""
    return bool(_SCHEME.match(name))


def add_environment(options: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Storage options with what they leave to the environment; keys of their own are not mixed with others."""
    own = {(key.upper() if key.lower().startswith("aws_") else key): value for key, value in options.items()}
    found: dict[str, str] = {}
    for variable, name in _VARIABLES.items():
        if environ.get(variable) and not (name in KEYS and KEYS[0] in own):
            found.setdefault(name, environ[variable])
    made = found | own
    if made.get(ENDPOINT, "").startswith("http://"):
        # Whoever writes http:// means it.
        made.setdefault(ALLOW_HTTP, "true")
    return made


def open_s3(uri: str, options: Mapping[str, str]) -> pafs.FileSystem:
    """A pyarrow file system whose root is the table's folder: executors need no further package for it."""
    access_key, secret_key, session_token = map(options.get, KEYS)
    store = pafs.S3FileSystem(
        access_key=access_key,
        secret_key=secret_key,
        session_token=session_token,
        region=options.get(REGION),
        endpoint_override=options.get(ENDPOINT),
    )
    return pafs.SubTreeFileSystem(_SCHEME.sub("", uri).rstrip("/"), store)


def hadoop_options(options: Mapping[str, str]) -> dict[str, str]:
    """The same as Hadoop's settings; `fs.*` keys stay as they are, and what Hadoop has no use for is left out."""
    known = {key.upper(): value for key, value in options.items()}
    made = {f"fs.s3a.{name}": known[key] for key, name in _S3A.items() if key in known}
    if ENDPOINT in known:
        # Servers that are not Amazon's answer to paths, not to host names made of bucket names.
        made["fs.s3a.path.style.access"] = "true"
    return (_S3A_PATIENCE if made else {}) | made | {k: v for k, v in options.items() if k.startswith("fs.")}
