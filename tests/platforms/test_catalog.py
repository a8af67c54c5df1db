"""Tables by name in a Hive metastore: README's commands, and what the local engine says of such names."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.documents import read_blocks
from tests.platforms.servers import BASH, run
from tests.platforms.tables import check_scores

# An embedded Derby, in place of a metastore's address.
HIVE_SITE = """\
<configuration>
  <property>
    <name>javax.jdo.option.ConnectionURL</name>
    <value>jdbc:derby:;databaseName={folder}/metastore;create=true</value>
  </property>
  <property><name>datanucleus.schema.autoCreateAll</name><value>true</value></property>
  <property><name>hive.metastore.schema.verification</name><value>false</value></property>
</configuration>
"""
MAKE_TABLE = """
import sys
from jobs.common.config import SparkConfig
from jobs.engines.spark.session import build_session

spark = build_session(SparkConfig(conf={"spark.sql.catalogImplementation": "hive"}), "tables", {})
spark.sql("CREATE DATABASE lake")
spark.sql(f"CREATE TABLE lake.orders USING delta LOCATION '{sys.argv[1]}'")
"""
READ_TABLE = """
from jobs.common.config import SparkConfig
from jobs.engines.spark.session import build_session

spark = build_session(SparkConfig(conf={"spark.sql.catalogImplementation": "hive"}), "analyst", {})
row = spark.sql("SELECT count(*) AS rows, count(DISTINCT order_id) AS orders FROM lake.orders_scored").first()
print("found", row.rows, row.orders, "at", spark.sql("DESCRIBE DETAIL lake.orders_scored").first().location)
"""


@pytest.fixture(scope="module")
def hive(clone: Path) -> dict[str, str]:
    """The environment of Spark with a metastore that has the table lake.orders."""
    folder = clone / "data" / "hive"
    folder.mkdir()
    (folder / "hive-site.xml").write_text(HIVE_SITE.format(folder=folder))
    environment = {"SPARK_CONF_DIR": str(folder)}
    run(["python", "-c", MAKE_TABLE, clone / "data" / "orders"], clone, **environment)
    return environment


def test_readme_runs_on_names(hive, clone, root, heavy_orders, orders_bundle):
    [block] = read_blocks(root / "README.md", "catalog")
    said = run([*BASH, block.code], clone, **hive)
    assert "lake.orders_scored version 1" in said
    found = run(["python", "-c", READ_TABLE], clone, **hive)
    assert "found 600 600 at file:" in found
    location = Path(found.partition("at file:")[2].strip().splitlines()[0])
    check_scores(DeltaTable(location), heavy_orders, orders_bundle)


def test_a_name_with_its_catalog_is_the_same_table(hive, clone):
    job = ["--config", "data/catalog.yaml", "--set", "source.table=spark_catalog.lake.orders"]
    said = run(["sandtimer", "plan", *job, "--set", "score.table=spark_catalog.lake.orders_scored"], clone, **hive)
    assert "nothing to do" in said


def test_the_local_engine_refuses_names_with_the_way_out(clone, hive):
    for command in ("plan", "score", "extract"):
        said = run(["sandtimer", command, "--config", "data/catalog.yaml", "--engine", "local"], clone, code=2)
        assert "found 'lake.orders', a catalog name; use --engine spark" in said
