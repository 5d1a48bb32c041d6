"""Spark and Ray Data read the files that count, and see what SQL sees; neither knows of featurestore."""

import json
import shutil
import subprocess
import sys

import pytest

import featurestore
from tests.clients import service
from tests.support import tiny

pytestmark = pytest.mark.clients
STATEMENT = (
    "SELECT dictionary, count(*) AS examples, max(activation) AS highest, sum(len(activations)) AS activations "
    "FROM {} GROUP BY dictionary ORDER BY dictionary"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store below a directory whose name looks like a column's value, with files that count no more."""
    path = tmp_path_factory.mktemp("stores") / "layer=7" / "worked.features"
    with tiny.write_tiny_store(path) as store:
        tiny.replace_and_remove(store)
        yield store


def test_spark(store):
    if shutil.which("java") is None:
        pytest.skip("Spark needs a Java runtime")
    found = service.run(
        f"""
import json, os
from pyspark.sql import SparkSession

spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
examples = spark.read.parquet(*json.loads(os.environ["FILES"]))
examples.createOrReplaceTempView("examples")
rows = spark.sql({STATEMENT.format("examples")!r}.replace("len(", "size(")).collect()
print(json.dumps([examples.columns, [list(row) for row in rows]]))
""",
        "",
        FILES=json.dumps(store.files("examples").paths),
    )
    assert found == expect(store)


def test_ray_data(store):
    pytest.importorskip("ray")
    script = """
import json, sys
import ray

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
examples = ray.data.read_parquet(json.loads(sys.argv[1]), partitioning=None)
rows = {}
for row in examples.iter_rows():
    counted = rows.setdefault(row["dictionary"], [row["dictionary"], 0, 0.0, 0])
    counted[1] += 1
    counted[2] = max(counted[2], row["activation"])
    counted[3] += len(row["activations"])
print(json.dumps([examples.schema().names, sorted(rows.values())]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(store.files("examples").paths)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == expect(store)


def expect(store: featurestore.FeatureStore) -> list:
    """The columns of stored.examples and the rows of the statement, as SQL gives them."""
    rows = store.sql(STATEMENT.format("stored.examples")).to_pylist()
    columns = store.sql("FROM stored.examples LIMIT 0").column_names
    return [columns, [list(row.values()) for row in rows]]
