"""Parts with other columns and types than schema.sql's: every door reads them by the schema, or says BadStore."""

import shutil

import pyarrow
import pytest

import featurestore
from featurestore import BadStore, FeatureStoreError
from featurestore.tables.stored_types import conform
from featurestore.web import create_app
from tests.featurestore.tables.forged_parts import drop_column, drop_copies, forge, set_column

NAME = "tiny/0-res"
PATHS = (
    f"/v1/features/{NAME}/1",
    f"/features/{NAME}/1",
    f"/v1/nearest?near={NAME}/1",
    "/v1/search?text=raise",
    "/v1/search?text=raise&where=density%20%3E%200",
    "/v1/sql?sql=select%20*%20from%20features%20limit%205",
    "/v1/sql?sql=select%20*%20from%20examples%20limit%205",
    "/v1/dictionaries",
    "/",
)
# Of each the table, the change, and whether the rows can be read all the same.
CHANGES = {
    "texts for numbers": ("features", set_column("density", "half"), False),
    "lists for numbers": ("features", set_column("max_activation", lambda c: pyarrow.array([[1.0]] * len(c))), False),
    "structs for texts": ("labels", set_column("label", lambda c: pyarrow.array([{"a": 1}] * len(c))), False),
    "numbers for lists": ("features", set_column("histogram", 3), False),
    "nested too deep": ("features", set_column("coactive", lambda c: pyarrow.array([[[[1]]]] * len(c))), False),
    "bytes that are no text": ("labels", set_column("label", lambda c: pyarrow.array([b"\xff\xfe"] * len(c))), False),
    "numbers out of range": ("features", set_column("feature", lambda c: pyarrow.array([2**40] * len(c))), False),
    "nothing where each has one": ("features", set_column("feature", lambda c: pyarrow.nulls(len(c), c.type)), False),
    "a column gone that must be there": ("labels", drop_column("label"), False),
    "a narrower type": ("features", set_column("density", lambda c: c.cast(pyarrow.float32())), False),
    "a column gone that may be": ("features", drop_column("coactive"), True),
    "a dictionary of texts": ("labels", set_column("label", lambda c: c.dictionary_encode()), True),
    "a column nobody knows": ("features", lambda rows: rows.append_column("evil", [[1] * len(rows)]), True),
}


@pytest.mark.parametrize(("table", "change", "readable"), CHANGES.values(), ids=CHANGES)
def test_foreign_columns(tmp_path, tiny_store, table, change, readable):
    folder = shutil.copytree(tiny_store, tmp_path / "copy")
    forge(folder, table, change)
    drop_copies(folder)
    with featurestore.connect(folder) as store:
        http = create_app(store).test_client()
        answers = {path: http.get(path, headers={"Accept": "application/json"}) for path in PATHS}
        for path, answer in answers.items():
            if answer.status_code >= 400:
                code = answer.get_json()["code"] if answer.is_json else "a page"
                # Without indexes there is no `nearest`, and no search by meaning.
                assert code in ("bad_store", "unavailable", "a page"), (path, answer.text[:400])
                assert "Traceback" not in answer.text and str(folder) not in answer.text
        if readable:
            assert answers[PATHS[0]].status_code == 200 and answers[PATHS[5]].status_code == 200
            assert store.feature(f"{NAME}/1", examples=1).id == f"{NAME}/1"
        else:
            with pytest.raises(BadStore):
                store.feature(f"{NAME}/1")
                store.sql(f"SELECT * FROM {table}")
        assert readable or store.check().problems


@pytest.mark.parametrize("column", ["dictionary", "feature"])
def test_a_column_that_is_there_twice_is_refused(column):
    rows = pyarrow.table([["a/b"], [0], [1]], names=["dictionary", "feature", column])
    with pytest.raises(BadStore, match=f"several columns called {column}"):
        conform(rows, "features", "part 1")


def test_rows_of_the_right_types_are_the_same_rows():
    rows = pyarrow.table({"dictionary": ["a/b"], "feature": pyarrow.array([7], pyarrow.int32())})
    assert conform(rows, "features", "part 1", ["dictionary", "feature"]) is rows
    assert conform(rows, "features", "part 1", ["feature", "density"]).to_pylist() == [{"feature": 7, "density": None}]
    assert issubclass(BadStore, FeatureStoreError)
