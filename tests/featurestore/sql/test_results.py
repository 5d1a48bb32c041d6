"""Values of every type that DuckDB returns, through every format: right, or refused with what to cast to.

Right is what DuckDB's own text says: a value is read back by DuckDB from Arrow, from Parquet, and from the text of JSON
and CSV, and has the same text as before.
"""

import csv
import io
import json

import duckdb
import pyarrow
import pyarrow.parquet
import pytest

import featurestore
from featurestore import BadRequest
from featurestore.sql import export
from featurestore.sql.process_pool import Workers
from featurestore.sql.results import check_types

FINE = [
    "NULL",
    "true",
    "(-128)::TINYINT",
    "255::UTINYINT",
    "(-32768)::SMALLINT",
    "65535::USMALLINT",
    "4294967295::UINTEGER",
    "18446744073709551615::UBIGINT",
    "(-9223372036854775808)::BIGINT",
    "99999999999999999999999999999999999999::HUGEINT",
    "(-99999999999999999999999999999999999999)::HUGEINT",
    "sum(7)",
    "123.45::DECIMAL(38, 10)",
    "(-0.5)::DECIMAL(2, 1)",
    "0.1::DOUBLE",
    "0.5::FLOAT",
    "'a text, with \"quotes\"'",
    "''",
    "'{\"a\": [1, null]}'::JSON",
    "'6d3d2541-710b-4bde-b3af-4711738636bf'::UUID",
    "'b'::ENUM('a', 'b')",
    "DATE '0001-01-01'",
    "DATE '9999-12-31'",
    "TIME '23:59:59.999999'",
    "'12:34:56.123456789'::TIME_NS",
    "TIMESTAMP '2020-01-02 03:04:05.123456'",
    "TIMESTAMP '9999-12-31 23:59:59.999999'",
    "'2020-01-02 03:04:05'::TIMESTAMP_S",
    "'2020-01-02 03:04:05.123'::TIMESTAMP_MS",
    "'2020-01-02 03:04:05.123456789'::TIMESTAMP_NS",
    "TIMESTAMPTZ '2020-01-02 03:04:05+02'",
]
NESTED = [
    "[1, NULL]",
    "[]",
    "[[1], [], NULL]",
    "[1.5, 2]::DOUBLE[2]",
    "['x', NULL]",
    "{'a': 1, 'b': 'x'}",
    "[{'a': DATE '2020-01-02'}]",
    "{'at': TIMESTAMP '2020-01-02 03:04:05'}",
    "['2020-01-02 03:04:05.123456789'::TIMESTAMP_NS]",
    "{'t': '12:34:56.123456789'::TIME_NS}",
    "[18446744073709551615::UBIGINT]",
    "{'u': '6d3d2541-710b-4bde-b3af-4711738636bf'::UUID}",
    "['b'::ENUM('a', 'b')]",
    "[true]",
]
# Refused in every format.
FOREIGN = [
    "INTERVAL '1 year 2 days 3 seconds'",
    "to_hours(3000000)",
    "TIME '24:00:00'",
    "'12:34:56+02:30'::TIMETZ",
    "'infinity'::DATE",
    "'-infinity'::DATE",
    "'0044-03-15 (BC)'::DATE",
    "'10000-01-01'::DATE",
    "'infinity'::TIMESTAMP",
    "'-infinity'::TIMESTAMP",
    "'infinity'::TIMESTAMP_S",
    "'-infinity'::TIMESTAMP_MS",
    "'infinity'::TIMESTAMP_NS",
    "'infinity'::TIMESTAMPTZ",
    "'20000-01-01'::TIMESTAMP",
    "340282366920938463463374607431768211455::UHUGEINT",
    "1::UHUGEINT",
    "'123456789012345678901234567890123456789012345678901234567890'::BIGNUM",
    "'10101'::BIT",
    "union_value(num := 2)",
    "'POINT(1 2)'::GEOMETRY",
    "42::VARIANT",
    "struct_pack()",
    "[INTERVAL 1 DAY]",
    "{'i': INTERVAL 1 MONTH}",
    "MAP {'a': '101'::BIT}",
    "MAP {1: union_value(num := 2)}",
    "[union_value(num := 2)]",
    "[[struct_pack()]]",
    "['infinity'::TIMESTAMP]",
    "[[TIME '24:00:00']]::TIME[1][1]",
    "{'d': [DATE '2020-01-02', '-infinity'::DATE]}",
    "MAP {'infinity'::DATE: 1}",
    "MAP {1: 'infinity'::TIMESTAMP}",
    "[1::VARIANT]",
    "[340282366920938463463374607431768211455::UHUGEINT]",
]


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.fixture(scope="module")
def oracle():
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        yield con


def written(store, value, form):
    sink = io.BytesIO()
    with store.stream(f"SELECT {value} AS v") as rows, export.open_sink(form, sink, rows.schema) as add:
        for batch in rows:
            add(batch)
    return sink.getvalue()


def text_of(oracle, value):
    return oracle.execute(f"SELECT ({value})::VARCHAR, typeof({value})").fetchall()[0]


def read_back(oracle, tmp_path, form, raw):
    """What DuckDB reads from an Arrow or a Parquet result, as text."""
    if form == "arrow":
        table = pyarrow.ipc.open_stream(raw).read_all()
        oracle.register("answer", table)
        return oracle.execute("SELECT v::VARCHAR FROM answer").fetchall()[0][0]
    (tmp_path / "x.parquet").write_bytes(raw)
    return oracle.execute("SELECT v::VARCHAR FROM read_parquet(?)", [str(tmp_path / "x.parquet")]).fetchall()[0][0]


@pytest.mark.parametrize("value", FINE + NESTED)
def test_a_value_is_the_same_to_duckdb_after_arrow_and_parquet(store, oracle, tmp_path, value):
    text, _ = text_of(oracle, value)
    for form in ("arrow", "parquet"):
        assert read_back(oracle, tmp_path, form, written(store, value, form)) == text, form


@pytest.mark.parametrize("value", FINE)
def test_a_cell_of_csv_and_json_reads_as_the_value(store, oracle, value):
    text, type_ = text_of(oracle, value)
    type_ = "VARCHAR" if type_ in ('"NULL"', "JSON") else type_
    cell = json.loads(written(store, value, "json"))["v"]
    lines = written(store, value, "csv").decode()
    (row,) = [{"v": None}] if value == "NULL" else csv.DictReader(io.StringIO(lines))  # an empty line
    for shown in (cell, row["v"]):
        plain = {True: "true", False: "false"}.get(shown, shown) if isinstance(shown, bool) else shown
        again = oracle.execute(f"SELECT $v::{type_}::VARCHAR", {"v": None if plain is None else str(plain)}).fetchall()
        assert again[0][0] == text, shown


@pytest.mark.parametrize("value", NESTED)
def test_nested_values_are_json_in_json_and_csv(store, oracle, value):
    wanted = json.loads(oracle.execute(f"SELECT to_json({value})").fetchall()[0][0])
    (row,) = csv.DictReader(io.StringIO(written(store, value, "csv").decode()))
    for found in (json.loads(written(store, value, "json"))["v"], json.loads(row["v"])):
        # A date has a T between day and time, which to_json writes as a space.
        assert json.loads(json.dumps(found).replace("02T03", "02 03")) == wanted


def test_maps_are_lists_of_pairs_and_bytes_are_base64(store):
    assert json.loads(written(store, "MAP {'a': 1}", "json")) == {"v": [["a", 1]]}
    assert json.loads(written(store, "'\\xAA\\x00'::BLOB", "json")) == {"v": "qgA="}
    assert store.sql("SELECT 'nan'::DOUBLE AS v").to_pylist()[0]["v"] != 0


@pytest.mark.parametrize("value", FOREIGN)
def test_what_no_answer_can_carry_is_refused_with_what_to_do(store, value):
    """In every door, which all take their rows from one stream; and the cast that the sentence names works."""
    with pytest.raises(BadRequest, match=r"column 'v' .* which answers cannot carry: cast it.* to VARCHAR"):
        store.sql(f"SELECT {value} AS v")
    if "struct_pack()" not in value:
        assert store.sql(f"SELECT ({value})::VARCHAR AS v").num_rows == 1


def test_a_number_of_39_digits_is_refused_by_parquet_alone(store):
    largest = f"{2**127 - 1}::HUGEINT"
    for form in ("json", "csv", "arrow"):
        assert str(2**127 - 1).encode() in written(store, f"({largest})::VARCHAR", form) or form == "arrow"
    with pytest.raises(BadRequest, match="more than 38 digits"):
        written(store, largest, "parquet")


def test_a_type_that_a_newer_duckdb_adds_is_refused():
    class Future:
        id = "quaternion"

        def __str__(self):
            return "QUATERNION"

    with pytest.raises(BadRequest, match="is of type QUATERNION"):
        check_types(["q"], [Future()])


def test_after_an_error_inside_duckdb_the_next_question_gets_another_engine(store):
    engine = store._current_view.engine
    with pytest.raises(BadRequest, match="DuckDB failed at this statement"), engine._cursor(None):
        raise duckdb.FatalException("FATAL Error: database has been invalidated")
    assert store.sql("SELECT 1 AS v").to_pylist() == [{"v": 1}]
    assert store._current_view.engine is not engine


def test_no_result_ends_a_process(tiny_store):
    """A refused result, a UNION and an error inside DuckDB leave a pool of one process that answers the next query."""
    workers = Workers(str(tiny_store), count=1)
    try:
        for value in ("union_value(num := 2)", "[union_value(num := 2)]", "42::VARIANT", "'infinity'::DATE"):
            with pytest.raises(BadRequest, match="cast it"):
                workers.stream(f"SELECT {value} AS v", {}, {}, 60.0).read_all()
        assert workers.stream("SELECT 1 AS v", {}, {}, 60.0).read_all().to_pylist() == [{"v": 1}]
    finally:
        workers.close()
