"""Sources of documents: real files of every kind, written on the spot, and what is said of those that are broken."""

import gzip
import json
import sys

import datasets
import numpy
import pyarrow
import pytest
from pyarrow import parquet

from featurestore import BadRequest, NotFound, Unavailable
from ingest.corpus.sources import documents

ROWS = [{"id": 1, "text": "one", "other": "uno"}, {"id": 2, "text": "two – dos", "other": "dos"}]
TALK = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}]


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def table(path, rows):
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=1)
    return path


def zstd(raw):
    return pyarrow.Codec("zstd").compress(raw, asbytes=True)


def read(*sources):
    return [(document.name, document.content) for document in documents(sources)]


def test_text_files_directories_and_patterns_are_read_in_order(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.txt", "a.md", "sub/c.txt"):
        (tmp_path / name).write_text(name)
    assert read(tmp_path) == [("a.md", "a.md"), ("b.txt", "b.txt"), ("sub/c.txt", "sub/c.txt")]
    assert read(f"{tmp_path}/**/*.txt") == [("b.txt", "b.txt"), ("c.txt", "sub/c.txt")]
    assert read(tmp_path / "b.txt", tmp_path / "a.md") == [("b.txt", "b.txt"), ("a.md", "a.md")]


def test_names_may_hold_brackets_and_colons(tmp_path):
    (tmp_path / "a[1]:x.txt").write_text("odd")
    lines(tmp_path / "b:text.jsonl", ROWS)
    assert read(tmp_path / "a[1]:x.txt") == [("a[1]:x.txt", "odd")]
    assert [content for _, content in read(f"{tmp_path}/b:text.jsonl:other")] == ["uno", "dos"]


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "jsonl.zst", "ndjson", "parquet", "arrow"])
def test_columns_of_tables(tmp_path, kind):
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        table(path, ROWS)
    elif kind == "arrow":
        with pyarrow.ipc.new_file(path, pyarrow.Table.from_pylist(ROWS).schema) as writer:
            writer.write_table(pyarrow.Table.from_pylist(ROWS), max_chunksize=1)
    else:
        raw = lines(tmp_path / "plain", ROWS).read_bytes()
        first, second = raw.splitlines(keepends=True)
        pack = {"jsonl.gz": gzip.compress, "jsonl.zst": zstd}.get(kind, bytes)
        path.write_bytes(pack(first) + pack(second))  # compressed files may be put one behind another
    assert read(path) == [(f"rows.{kind}:1", "one"), (f"rows.{kind}:2", "two – dos")]
    assert read(f"{path}:other") == [(f"rows.{kind}:1", "uno"), (f"rows.{kind}:2", "dos")]
    with pytest.raises(BadRequest, match=rf"rows.{kind}.*: no column 'txt'; there are: id, text, other"):
        read(f"{path}:txt")


def test_compressed_texts(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"packed"))
    (tmp_path / "b.txt.zst").write_bytes(zstd("enge Lücke".encode()))
    assert read(tmp_path) == [("a.txt.gz", "packed"), ("b.txt.zst", "enge Lücke")]


def test_missing_texts_are_empty_documents_and_blank_lines_none(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": null}\n\n{"text": ""}\n   \n{"text": "x"}')
    assert read(path) == [("x.jsonl:1", ""), ("x.jsonl:3", ""), ("x.jsonl:5", "x")]


def test_directories_hold_files_of_any_kind(tmp_path):
    lines(tmp_path / "a.jsonl", ROWS[:1])
    table(tmp_path / "b.parquet", ROWS[1:])
    (tmp_path / "c.txt").write_text("three")
    assert [content for _, content in read(tmp_path)] == ["one", "two – dos", "three"]
    with pytest.raises(BadRequest, match=r"c.txt was given text, but nothing follows its path"):
        documents([f"{tmp_path}:text"])


def test_chats_and_token_lists_come_as_they_are(tmp_path):
    path = lines(tmp_path / "x.jsonl", [{"messages": TALK, "ids": [3, 1, 2]}])
    assert read(path) == [("x.jsonl:1", TALK)]
    ((_, tokens),) = read(f"{path}:ids:model")
    assert (tokens.ids.tolist(), tokens.tokenizer, tokens.stream) == ([3, 1, 2], "model", False)
    with pytest.raises(BadRequest, match=r"line 1 holds token ids: say which tokenizer made them, .*FILE:ids:model"):
        read(f"{path}:ids")
    ((_, arrow_tokens),) = read(f"{table(tmp_path / 'x.parquet', [{'ids': [3, 1, 2]}])}:ids:model")
    assert arrow_tokens.ids.tolist() == [3, 1, 2]


@pytest.mark.parametrize("dtype", ["uint16", "int64"])
def test_arrays_are_streams_or_rows(tmp_path, dtype):
    numpy.save(tmp_path / "one.npy", numpy.arange(5, dtype=dtype))
    numpy.save(tmp_path / "two.npy", numpy.arange(6, dtype=dtype).reshape(2, 3))
    ((name, stream),) = read(f"{tmp_path}/one.npy:openai-community/gpt2")
    assert (name, stream.ids.tolist(), stream.tokenizer, stream.stream) == (
        "one.npy",
        [0, 1, 2, 3, 4],
        "openai-community/gpt2",
        True,
    )
    rows = read(f"{tmp_path}/two.npy:model")
    assert [(name, row.ids.tolist(), row.stream) for name, row in rows] == [
        ("two.npy:1", [0, 1, 2], False),
        ("two.npy:2", [3, 4, 5], False),
    ]


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_arrays_without_a_header(tmp_path, dtype):
    numpy.array([1, 2, 65_000], dtype=f"<{numpy.dtype(dtype).str[1:]}").tofile(tmp_path / "x.bin")
    ((_, stream),) = read(f"{tmp_path}/x.bin:{dtype}:model")
    assert stream.ids.tolist() == [1, 2, 65_000]


def test_saved_datasets_and_folders_in_the_hubs_layout(tmp_path):
    made = datasets.Dataset.from_list(ROWS * 3)
    made.save_to_disk(tmp_path / "saved", num_shards=2)
    whole = [(f"{n}", row["text"]) for n, row in enumerate(ROWS * 3)]
    assert [content for _, content in read(tmp_path / "saved")] == [content for _, content in whole]
    datasets.DatasetDict({"train": made, "test": made.select([1])}).save_to_disk(tmp_path / "splits")
    with pytest.raises(BadRequest, match=r"several splits \(test, train\): name one"):
        documents([tmp_path / "splits"])
    assert [content for _, content in read(tmp_path / "splits" / "test")] == ["two – dos"]
    with pytest.raises(BadRequest, match="name one, as in"):
        documents([f"{tmp_path}/splits"])
    (tmp_path / "hub" / "data").mkdir(parents=True)
    table(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet", ROWS)
    table(tmp_path / "hub" / "data" / "test-00000-of-00001.parquet", ROWS[1:])
    (tmp_path / "hub" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert read(f"hf://{tmp_path}/hub") == [("hub/train:1", "one"), ("hub/train:2", "two – dos")]
    assert read(f"hf://{tmp_path}/hub#test:other") == [("hub/test:1", "dos")]
    with pytest.raises(BadRequest, match=r"hub#nowhere cannot be read: .*nowhere"):
        read(f"hf://{tmp_path}/hub#nowhere")
    with pytest.raises(BadRequest, match="row 1: no column 'x'; there are: id, text, other"):
        read(f"hf://{tmp_path}/hub:x")


def test_configurations_of_a_dataset(tmp_path):
    for name, row in zip("ab", ROWS, strict=True):
        (tmp_path / name).mkdir()
        table(tmp_path / name / "train.parquet", [row])
    configs = [f"- config_name: {name}\n  data_files: {name}/train.parquet\n" for name in "ab"]
    (tmp_path / "README.md").write_text("---\nconfigs:\n" + "".join(configs) + "---\n")
    assert [content for _, content in read(f"hf://{tmp_path}#b/train")] == ["two – dos"]
    with pytest.raises(BadRequest, match=r"Config name is missing.*\['a', 'b'\]"):
        read(f"hf://{tmp_path}")


def test_a_dataset_that_is_not_whole(tmp_path):
    made = datasets.Dataset.from_list(ROWS)
    made.save_to_disk(tmp_path / "saved")
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    arrow.rename(tmp_path / "elsewhere")
    with pytest.raises(BadRequest, match=rf"{arrow.name} is missing; save the dataset again"):
        documents([tmp_path / "saved"])
    (tmp_path / "saved" / "state.json").write_text("{")
    with pytest.raises(BadRequest, match="state.json is damaged"):
        documents([tmp_path / "saved"])


def test_without_the_package_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(Unavailable, match=r"pip install 'featurestore\[datasets\]'"):
        read("hf://roneneldan/TinyStories")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hf://TinyStories", "the hub's names have an owner"),
        ("hf://a/b#c/d/e", r"write hf://NAME\[@REVISION\]"),
        ("hf://a/b#train:text:model:x", r"write hf://NAME\[@REVISION\]"),
        ("hf://./nowhere", "there is no directory ./nowhere"),
    ],
)
def test_datasets_that_are_not_named_rightly(source, words):
    with pytest.raises((BadRequest, NotFound), match=words):
        documents([source])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.txt", b"abc\xff", r"x.txt is not UTF-8 text: byte 3 is 0xff"),
        ("x.txt", b"ab\0c", r"x.txt is not text: byte 2 is zero"),
        ("x.txt.gz", b"not gzip", r"x.txt.gz cannot be read: "),
        ("x.txt.gz", gzip.compress(b"cut short" * 99, mtime=0)[:-9], r"x.txt.gz cannot be read: "),
        ("x.txt.zst", b"not zstd", r"x.txt.zst cannot be read: "),
        ("x.jsonl", b'{"text": "a"}\n{"text": \n', r"x.jsonl, line 2: not JSON: "),
        ("x.jsonl", b'{"text": "\xff"}\n', r"x.jsonl, line 1: not JSON: "),
        ("x.jsonl", b'["a"]\n', r"x.jsonl, line 1: not a JSON object but list"),
        ("x.jsonl", b'{"text": 3}\n', r"x.jsonl, line 1: column 'text' holds int, which is no text"),
        (
            "x.jsonl",
            b'{"messages": [{"from": "a", "value": "b"}]}',
            r"line 1: messages in column 'messages' have no role",
        ),
        ("x.jsonl", b"{}\n", r"line 1: no column text, messages, conversations, input_ids or tokens; there are: none"),
        (
            "x.jsonl:ids:model",
            b'{"ids": [1, 98765432109876543210]}',
            r"line 1: token 1 .* of column 'ids' is 98765432109876543210, which",
        ),
        ("x.jsonl:ids:model", b'{"ids": [1, -1]}', r"line 1: token 1 .* of column 'ids' is -1, which is no token id"),
        ("x.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-9], r"x.jsonl.gz cannot be read: "),
        ("x.parquet", b"PAR1 not really", r"x.parquet cannot be read: "),
        ("x.arrow", b"ARROW1 not really", r"x.arrow cannot be read: "),
        ("x.npy:model", b"no array", r"x.npy cannot be read: "),
        ("x.bin:uint16:model", b"abc", r"x.bin has 3 bytes, which are no whole numbers of 2 bytes"),
        ("x.bin:uint16", b"ab", r"x.bin holds token ids: say which tokenizer made them"),
        ("x.bin:int8:model", b"ab", r"'int8' is no type of its numbers"),
    ],
)
def test_broken_files_are_named_with_the_place(tmp_path, name, content, words):
    (tmp_path / name.split(":")[0]).write_bytes(content)
    with pytest.raises(BadRequest, match=words) as error:
        read(f"{tmp_path}/{name}")
    assert "\n" not in str(error.value)


def test_arrays_that_are_no_tokens(tmp_path):
    numpy.save(tmp_path / "x.npy", numpy.zeros((2, 2)))
    with pytest.raises(BadRequest, match=r"float64 of shape \(2, 2\): token ids are integers"):
        read(f"{tmp_path}/x.npy:model")
    with pytest.raises(BadRequest, match=r"x.npy was given model:x, but after it one can say TOKENIZER"):
        documents([f"{tmp_path}/x.npy:model:x"])


def test_what_is_not_there_is_said_before_anything_is_read(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match=r"no text at .*none\.txt"):
        documents([tmp_path / "none.txt"])
    with pytest.raises(NotFound, match=r"no text at .*\*\.rst"):
        documents([f"{tmp_path}/*.rst"])
    with pytest.raises(BadRequest, match=r"the corpus is empty: no file in .*empty"):
        documents([tmp_path / "empty"])


def test_files_are_read_as_they_are_asked_for(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "good"}\nbad')
    found = documents([path])
    assert next(found).content == "good"
    with pytest.raises(BadRequest, match="line 2"):
        next(found)
