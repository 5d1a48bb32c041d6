from bench import basics


def test_rows_and_examples_of_a_page_are_read_beside_pyarrow(tiny_store):
    rows = basics.measure_page_rows(tiny_store)
    assert set(rows) == {"page_row_ms", "page_row_pyarrow_ms"}
    examples = basics.measure_page_examples(tiny_store)
    assert set(examples) == {"page_examples_ms", "page_examples_pyarrow_ms"}
    assert all(milliseconds > 0 for milliseconds in (*rows.values(), *examples.values()))
