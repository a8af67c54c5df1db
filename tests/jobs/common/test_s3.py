"""Access to a store that speaks S3, as each library calls it."""

from __future__ import annotations

import pytest

from jobs.common.s3 import add_environment, hadoop_options, is_s3
from jobs.delta.storage import TableRef

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "its key",
    "AWS_SECRET_ACCESS_KEY": "its secret",
    "AWS_SESSION_TOKEN": "its token",
    "AWS_DEFAULT_REGION": "eu-north-1",
    "AWS_PROFILE": "no concern of ours",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("s3://lake/t", True), ("s3a://lake/t", True), ("s3n://lake/t", True), ("gs://lake/t", False), ("s3/t", False)],
)
def test_which_tables_it_concerns(name: str, expected: bool) -> None:
    assert is_s3(name) is expected


def test_the_environment_fills_what_is_not_said() -> None:
    assert add_environment({"timeout": "9s"}, ENVIRONMENT) == {
        "AWS_ACCESS_KEY_ID": "its key",
        "AWS_SECRET_ACCESS_KEY": "its secret",
        "AWS_SESSION_TOKEN": "its token",
        "AWS_REGION": "eu-north-1",
        "timeout": "9s",
    }


def test_keys_of_two_places_are_not_mixed() -> None:
    made = add_environment({"aws_access_key_id": "own", "AWS_SECRET_ACCESS_KEY": "own"}, ENVIRONMENT)
    assert made == {"AWS_ACCESS_KEY_ID": "own", "AWS_SECRET_ACCESS_KEY": "own", "AWS_REGION": "eu-north-1"}


def test_http_is_allowed_where_it_is_written() -> None:
    assert add_environment({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, {})["AWS_ALLOW_HTTP"] == "true"
    assert "AWS_ALLOW_HTTP" not in add_environment({"AWS_ENDPOINT_URL": "https://store"}, {})


def test_a_table_has_it_and_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    ref = TableRef("s3://lake/t")
    assert ref.storage_options["AWS_SECRET_ACCESS_KEY"] == "its secret"
    assert "its" not in repr(ref)
    assert TableRef("data/t").storage_options == {}


def test_storage_options_in_delta_rs_names_reach_hadoop() -> None:
    options = {
        "AWS_ACCESS_KEY_ID": "id",
        "aws_secret_access_key": "key",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9400",
        "AWS_ALLOW_HTTP": "true",
        "fs.s3a.retry.limit": "5",
    }
    made = hadoop_options(options)
    assert made == {
        "fs.s3a.access.key": "id",
        "fs.s3a.secret.key": "key",
        "fs.s3a.endpoint": "http://127.0.0.1:9400",
        "fs.s3a.path.style.access": "true",
        "fs.s3a.retry.limit": "5",
        "fs.s3a.attempts.maximum": made["fs.s3a.attempts.maximum"],
        "fs.s3a.connection.establish.timeout": made["fs.s3a.connection.establish.timeout"],
    }
    assert hadoop_options({"fs.azure.key": "k", "timeout": "5s"}) == {"fs.azure.key": "k"}
