"""Stores that a stranger made to do harm, sealed as ours are: each door gives an answer, or an error that names a file.

Nothing beside the store is read, changed or asked, whatever is called: questions, check, repair, compact, migrate, a
writer, pages and routes of a service.
"""

import hashlib
import http.server
import json
import os
import re
import shutil
import threading

import msgspec
import pyarrow
import pyarrow.parquet
import pytest

import featurestore
from featurestore import FeatureStoreError
from featurestore.maintenance import job_files
from featurestore.maintenance.migrate import migrate
from featurestore.storage.local import LocalStorage
from featurestore.storage.log_files import seal
from featurestore.tables import schema
from featurestore.values.dictionary import MOST_FEATURES
from featurestore.web import Settings, create_app
from tests.featurestore.store.test_damaged_parts import QUESTIONS
from tests.support import attribution_graphs, tiny

DEEP = b"[" * 2000 + b"]" * 2000
ROUTES = (
    *("/", "/?text=raise", "/features/tiny/0-res/3", "/dictionaries/tiny/0-res", "/graphs/colons"),
    *("/v1/info", "/v1/sql?sql=FROM+features", "/v1/graphs/colons", "/v1/graphs/colons/file", "/v1/jobs", "/readyz"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "whole"
    with tiny.write_tiny_store(path) as store:
        store.set_label("tiny/0-res/3", "said by a person")
        store.save_list("some", ["tiny/0-res/3"])
        store.vote("tiny/0-res/3", "said by a person", 1)
        store.add_graph(attribution_graphs.graph(), map=["tiny/{layer}-res"])
    return path


def read_log(folder):
    return {path: json.loads(path.read_text())["content"] for path in sorted((folder / "log").glob("*.json"))}


def change_log(folder, change):
    """Seal every commit again after `change(commit)`."""
    for path, content in read_log(folder).items():
        change(content)
        path.write_bytes(seal(content))


def change_parts(folder, table, **fields):
    """Set fields of every part of a table."""

    def change(commit):
        for part in commit["add"]:
            if part["table"] == table:
                part.update({name: part[name] | value if name == "about" else value for name, value in fields.items()})

    change_log(folder, change)


def seal_parts(folder):
    """Write the sizes and hashes of files, as they are now, into the log."""

    def change(commit):
        for part in commit["add"]:
            path = folder / part["file"]
            files = [path / name for name in part["files"]] if part["files"] else [path]
            hashes = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
            part["bytes"] = sum(file.stat().st_size for file in files)
            part["files"] = {name: hashes[path / name] for name in part["files"]}
            part["sha256"] = (
                hashlib.sha256(msgspec.json.encode(part["files"])).hexdigest() if part["files"] else hashes[path]
            )

    change_log(folder, change)


def first_file(folder, table):
    return next(file for file in sorted((folder / table).rglob("*")) if file.is_file())


def add_part(**fields):
    """Append a commit with one part, or with other fields."""

    def change(folder, outside):
        number = len(read_log(folder)) + 1
        said = {
            name: str(value).format(outside=outside) if isinstance(value, str) else value
            for name, value in fields.items()
        }
        commit = {"commit": number, "at": "2026-01-02T00:00:00Z", "by": "x", "writer": "0123456789ab", "format": 4}
        (folder / "log" / f"{number:010d}.json").write_bytes(seal(commit | {"add": []} | said))

    return change


def rule(table, text):
    part = {"file": f"{table}/store/00000-0123456789ab-1", "table": table, "key": "store", "shard": 0, "rows": 0}
    part |= {"bytes": 0, "sha256": "0" * 64, "files": {}}

    def change(folder, outside):
        add_part(add=[part | {"about": {"rule": text.format(outside=outside)}}])(folder, outside)

    return change


def about(table, **fields):
    return lambda folder, outside: change_parts(folder, table, about=fields)


def field(name, value, table=None):
    """Set a field of every part, written as `value`: text of JSON that no encoder of ours writes."""

    def change(folder, outside):
        for path in sorted((folder / "log").glob("*.json")):
            raw = json.dumps(json.loads(path.read_text())["content"])
            raw = re.sub(rf'"{name}": ("[^"]*"|[^,}}\]]+)', f'"{name}": {value}', raw).encode()
            path.write_bytes(b'{"sha256":"%b","content":%b}' % (hashlib.sha256(raw).hexdigest().encode(), raw))

    return change


def content(path, raw):
    """Replace a file of the store that is no part."""

    def change(folder, outside):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(raw)

    return change


def in_part(table, name, raw):
    """Replace a file of every part of a table, sealed."""

    def change(folder, outside):
        for file in (folder / table).rglob(name):
            file.write_bytes(raw)
        seal_parts(folder)

    return change


def column(table, name, value):
    """Set a column of a table's rows, sealed."""

    def change(folder, outside):
        for file in (folder / table).rglob("*.parquet"):
            rows = pyarrow.parquet.read_table(file)
            place = rows.schema.get_field_index(name)
            values = pyarrow.array([value] * rows.num_rows, rows.schema.field(name).type)
            pyarrow.parquet.write_table(rows.set_column(place, rows.schema.field(name), values), file)
        seal_parts(folder)

    return change


def replace(table, make):
    """Put something else in the place of the first file of a table, or of the whole part or folder of it."""

    def change(folder, outside):
        place = first_file(folder, table) if (folder / table).is_dir() else folder / table
        place.unlink()
        make(place, outside)

    return change


def link_table(table):
    def change(folder, outside):
        shutil.copytree(folder / table, outside / table)
        shutil.rmtree(folder / table)
        (folder / table).symlink_to(outside / table)

    return change


PARTS = (
    "features",
    "labels",
    "examples",
    "feature_rows",
    "decoder_vectors",
    "token_stream",
    "graphs",
    "lists",
    "votes",
)
INDEXES = ("decoder_index", "label_index", "token_index")
NUMBERS = ("1e400", "-1", "-1e400", "9" * 400, "NaN", "1.5", "null", "true", '"1"', "[]", "{}", "9223372036854775808")
ATTACKS = {
    "a rule that reads a file": rule("label_rule", "(SELECT content FROM read_text('{outside}/thesis.txt'))"),
    "a rule that writes a file": rule("label_rule", "1); COPY (SELECT 1) TO '{outside}/x'; SELECT (1"),
    "a rule that never ends": rule("label_rule", "WITH a AS (" * 20),
    "a rule that waits": rule("structural_rule", "pg_sleep(25) IS NULL"),
    "a rule of the environment": rule("structural_rule", "getenv('HOME') LIKE '/%'"),
    "a rule of two thousand brackets": rule("structural_rule", "(" * 2000 + "1" + ")" * 2000),
    "remove above": add_part(remove=["../outside"]),
    "remove by an absolute path": add_part(remove=["/etc"]),
    "remove through a table": add_part(remove=["labels/../../outside"]),
    "remove the log": add_part(remove=["log/0000000001.json"]),
    "remove what is not there": add_part(remove=["labels/tiny/0-res/00000-0123456789ab-9.parquet"]),
    "a writer with a path": add_part(writer="../../outside"),
    "words of a megabyte": add_part(by="x" * 1_000_000),
    "words with a code 0": add_part(by="a\0b\x1b[2J"),
    "a commit of the far future": add_part(at="9999-12-31T23:59:59Z"),
    "an endpoint as embedder": about("label_index", embedder="{url}", embedder_id="x"),
    "a directory as embedder": about("label_index", embedder="/etc", embedder_id="x"),
    "an index that covers what is outside": about("decoder_index", covers=["../outside/thesis.txt"] * 2),
    "an index that covers too much": about("decoder_index", rows=[2**50, 2**50]),
    "an index that covers too little": about("decoder_index", rows=[1, 1]),
    "an index of another kind": about("decoder_index", search={"kind": "ivf", "rows": -1, "lists": 10**12}),
    "an index of other dimensions": about("decoder_index", dim=-8),
    "a part of many shards": lambda folder, outside: change_parts(folder, "features", shard=999_999),
    "targets without end": about("decoder_vectors", targets=list(range(1000))),
    **{
        f"{table}: {kind}": replace(table, make)
        for table in (*PARTS, *INDEXES, "store.json", "log")
        for kind, make in {
            "a pipe": lambda place, outside: os.mkfifo(place),
            "a folder": lambda place, outside: place.mkdir(),
            "a link to nothing": lambda place, outside: place.symlink_to(outside / "none"),
            "a link to itself": lambda place, outside: place.symlink_to(place),
            "a link to another's file": lambda place, outside: place.symlink_to(outside / "thesis.txt"),
            "a link to a device": lambda place, outside: place.symlink_to("/dev/zero"),
        }.items()
    },
    **{f"{table}: the folder is a link": link_table(table) for table in (*PARTS, *INDEXES, "log")},
    **{
        f"deep JSON in {path}": content(path, DEEP)
        for path in ("store.json", "log/0000000001.json", "log/0000000009.json", "jobs/check-0123456789ab.json")
    },
    **{
        f"deep JSON sealed in {path}": content(path, b'{"sha256":"%b","content":%b}' % (b"0" * 64, DEEP))
        for path in ("log/0000000001.json", "log/checkpoint-0000000001.json")
    },
    **{
        f"deep JSON as {name} of the log": field(name, DEEP.decode())
        for name in ("by", "about", "rows", "files", "commit", "sha256", "covers", "embedder", "search")
    },
    **{
        f"deep JSON in {table}/{name}": in_part(table, name, raw)
        for table, name, raw in (
            ("label_index", "meta.json", DEEP),
            ("token_index", "meta.json", b'{"payload": "' + b"[" * 2000 + b'"}'),
            ("label_index", ".managed.json", DEEP),
        )
    },
    **{
        f"deep JSON in {table}.{name}": column(table, name, DEEP.decode())
        for table, name in (("graphs", "document"), ("graph_nodes", "said"))
    },
    **{
        f"{value[:20]} as {name} of the log": field(name, value)
        for name in ("rows", "bytes", "shard", "commit", "format")
        for value in NUMBERS
    },
    **{
        f"{value} as {name} of a dictionary": column("dictionaries", name, value)
        for name, value in (
            *(("d_sae", number) for number in (-1, 0, MOST_FEATURES + 1, 2**31 - 1)),
            *((name, "x" * 1_000_000) for name in ("model", "source", "import_location")),
            *((name, "a\0b") for name in ("model", "dictionary")),
        )
    },
    **{
        f"{str(value)[:20]!r} as {table}.{name}": column(table, name, value)
        for table, name, value in (
            *(("features", "feature", number) for number in (-1, 2**31 - 1)),
            *(("labels", "feature", number) for number in (-1, 2**31 - 1)),
            *(("labels", name, "\0" * 10) for name in ("label", "explainer", "dictionary")),
            ("labels", "label", "x" * 5_000_000),
            *(("examples", name, -1) for name in ("feature", "rank", "start")),
            *(("lists", "name", name) for name in ("../../outside", "\0", "x" * 100_000)),
        )
    },
}


class Counted(http.server.BaseHTTPRequestHandler):
    """Counts who asks, whatever it is asked."""

    def do_POST(self):
        self.server.asked.append(self.path)
        self.send_error(500)

    do_GET = do_POST

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counted)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ask_pages(store):
    client = create_app(store, Settings()).test_client()
    for route in ROUTES:
        answer = client.get(route)
        text = answer.get_data(as_text=True)
        known = answer.status_code < 500 or "inside the service" not in text
        assert known and "Traceback" not in text, (route, text[:300])


def see(outside):
    """Everything that lies beside the store, and its content."""
    return {
        str(path.relative_to(outside)): path.read_bytes() if path.is_file() else None
        for path in sorted(outside.rglob("*"))
    }


def prepare(whole, place, change):
    """Returns the folder of a store that was attacked, and a folder beside it."""
    folder, outside = shutil.copytree(whole, place / "store"), place / "outside"
    outside.mkdir()
    (outside / "thesis.txt").write_text("years of work")
    change(folder, outside)
    return folder, outside


def migrate_older(folder):
    """Migrate a store that says it is of the format before."""
    if (folder / "store.json").is_file() and not (folder / "store.json").is_symlink():
        (folder / "store.json").write_text('{"format": 3}')
    migrate(str(folder))


READING = {name: ask for name, ask in QUESTIONS.items() if name not in ("compact", "set_label", "repair")}
READING["service"] = ask_pages
WRITING = {name: QUESTIONS[name] for name in ("set_label", "compact", "repair")}


def ask_doors(folder, doors):
    """Yields the name of each door and the error of ours that it ends with, if any."""
    for name, ask in doors.items():
        try:
            ask(folder)
        except FeatureStoreError as exc:
            yield name, str(exc)
        except Exception as exc:
            raise AssertionError((name, str(exc)[:300])) from exc


def ask_everything(folder):
    """Returns what each door says, by its name. A store that cannot be opened says one thing."""
    said = {}
    for doors in (READING, WRITING):
        try:
            with featurestore.connect(folder) as store:
                said |= ask_doors(store, doors)
        except FeatureStoreError as exc:
            said["open"] = str(exc)
    return said | dict(ask_doors(folder, {"migrate": migrate_older}))


def attack(whole, tmp_path, name, endpoint):
    """Returns what each door said of a store that was attacked. Raises AssertionError for what it must not do."""
    folder, outside = prepare(whole, tmp_path / "s", ATTACKS[name])
    if "endpoint" in name:
        about("label_index", embedder=f"http://127.0.0.1:{endpoint.server_port}/v1#x", embedder_id="x")(folder, outside)
    before = see(outside)
    messages = ask_everything(folder)
    for door, message in messages.items():
        assert "\n" not in message and len(message) < 3000, (name, door, message[:300])
        assert "years of work" not in message, (name, door, message)
    assert see(outside) == before, name
    assert endpoint.asked == [], name
    return messages


QUICK = (
    *("a rule that reads a file", "remove above", "an endpoint as embedder", "features: a pipe", "store.json: a pipe"),
    *("label_index: a pipe", "labels: the folder is a link", "deep JSON as about of the log", "-1 as rows of the log"),
    *("1e400 as bytes of the log", f"{MOST_FEATURES + 1} as d_sae of a dictionary", "targets without end"),
    "features: a link to itself",
)


def test_the_list_is_long():
    assert len(ATTACKS) > 180
    assert set(QUICK) < set(ATTACKS)


@pytest.mark.parametrize("name", QUICK)
def test_a_hostile_store_is_refused_by_name_and_touches_nothing(whole, tmp_path, name, endpoint, caplog):
    said = attack(whole, tmp_path, name, endpoint)
    assert said, name
    assert all("store" in message or "/" in message for message in said.values()), said
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_every_hostile_store_gets_an_answer_or_an_error_of_ours(whole, tmp_path, name, endpoint):
    attack(whole, tmp_path, name, endpoint)


@pytest.mark.parametrize("name", ["job.lock", "check.alone"])
def test_no_lock_is_made_through_a_link(whole, tmp_path, name):
    """A link in the place of a job's lock would have a file made, or a pipe waited for, beside the store."""
    folder = shutil.copytree(whole, tmp_path / "s")
    (folder / "jobs").mkdir(exist_ok=True)
    (folder / "jobs" / name).symlink_to(tmp_path / "made")
    with pytest.raises(OSError, match="symbolic links"):
        job_files.lock(LocalStorage(folder), name)
    (folder / "jobs" / name).unlink()
    os.mkfifo(folder / "jobs" / "check-0123456789ab.lock")
    assert not job_files.is_locked(LocalStorage(folder), "check-0123456789ab")
    shutil.rmtree(folder / "jobs")
    (tmp_path / "outside").mkdir()
    (folder / "jobs").symlink_to(tmp_path / "outside")
    with pytest.raises(featurestore.BadStore, match="leads out of the store"):
        job_files.lock(LocalStorage(folder), name)
    assert list((tmp_path / "outside").iterdir()) == [] and not (tmp_path / "made").exists()


def test_the_schema_knows_as_many_features_as_readers_do():
    assert any(f"d_sae BETWEEN 1 AND {MOST_FEATURES})" in text for text in schema.statements())
