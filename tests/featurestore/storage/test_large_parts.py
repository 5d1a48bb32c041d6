"""Parts of several megabytes and row groups, read from an object store by many threads at once, as from a directory."""

import concurrent.futures

import duckdb
import pyarrow.parquet
import pytest

import featurestore
from bench.support import synthetic
from tests.support.servers import s3_server

FEATURES = 34_000  # more than a row group of features, and 150 of examples
QUERIES = {
    "count": "SELECT count(*) AS n FROM examples",
    "aggregates": "SELECT count(*) AS n, sum(activation::DOUBLE)::DECIMAL(30, 3) AS s, max(position) "
    "FROM stored.examples",
    "lists": "SELECT sum(list_sum(offsets)) AS s, max(list_max(activations)) AS m FROM stored.examples",
    "every column": "FROM stored.examples WHERE feature BETWEEN 20000 AND 20100 ORDER BY feature, band, band_low, rank",
    "features": "SELECT sum(active_tokens) AS t, sum(list_sum(histogram)) AS h, max(density) AS d FROM features",
    "joined": "SELECT layer, e.band, count(*) AS n, max(activation * density) AS m FROM stored.examples e JOIN features"
    " USING (dictionary, feature) GROUP BY ALL ORDER BY ALL",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "here.features"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "EXAMPLES", 10)
        patch.setattr(synthetic, "TOKENS", 100_000)
        synthetic.build(path, FEATURES, 0, lambda rows: None).close()
    return path


@pytest.fixture(scope="module")
def there(here, tmp_path_factory):
    with s3_server.serve_bucket(tmp_path_factory.mktemp("cache")) as url:
        s3_server.copy_store(here, f"{url}/large")
        yield f"{url}/large"


@pytest.fixture
def set_threads(monkeypatch):
    """Sets how many threads DuckDB has in stores opened from then on, whatever the machine has."""
    connect = duckdb.connect

    def set_number(threads):
        def connect_with(config=None):
            return connect(config=(config or {}) | {"threads": str(threads)})

        monkeypatch.setattr(duckdb, "connect", connect_with)

    return set_number


def test_parts_have_the_size_that_many_threads_read(here):
    sizes = {file.parent.parts[-3]: file for file in here.glob("*/*/*/*.parquet")}
    examples = pyarrow.parquet.ParquetFile(sizes["examples"]).metadata
    assert examples.num_row_groups > 100
    assert sizes["examples"].stat().st_size > 16 << 20
    assert pyarrow.parquet.ParquetFile(sizes["features"]).metadata.num_row_groups == 2


@pytest.mark.parametrize("threads", [2, 8])
def test_threads_of_a_query_read_what_a_directory_holds(here, there, threads, set_threads):
    set_threads(threads)
    with featurestore.connect(here) as local, featurestore.connect(there) as remote:
        for statement in QUERIES.values():
            assert remote.sql(statement).equals(local.sql(statement)), statement


def test_queries_at_once_read_what_a_directory_holds(here, there, set_threads):
    set_threads(8)
    with featurestore.connect(here) as local, featurestore.connect(there) as remote:
        wanted = {statement: local.sql(statement) for statement in QUERIES.values()}
        with concurrent.futures.ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(remote.sql, QUERIES.values()))
        assert all(wanted[statement].equals(rows) for statement, rows in zip(QUERIES.values(), answers, strict=True))


def test_pages_read_what_a_directory_holds(here, there):
    """Rows of one feature are read by pyarrow, by threads of a service, from files that they share."""
    ids = [f"synthetic/0-res/{feature}" for feature in range(7, FEATURES, 4_000)]
    with featurestore.connect(here) as local, featurestore.connect(there) as remote:
        wanted = [local.feature(id) for id in ids]
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            assert list(threads.map(remote.feature, ids)) == wanted
