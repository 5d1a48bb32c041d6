"""What SECURITY.md promises, tried: keys, scopes, quotas, lanes, hosts, origins, headers, paths and logs."""

import json
import re
import stat
import threading

import pytest

import featurestore
from featurestore import BadRequest, NotFound, TooManyRequests, Unauthorized, Unavailable
from featurestore.web import Settings, create_app
from featurestore.web.logs import AccessLog
from featurestore.web.security import keys
from featurestore.web.security.keys import Key, Keys
from featurestore.web.security.limits import Lanes, Quotas
from featurestore.web.settings import trusted_hosts

HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.fixture
def made(tmp_path):
    """A file of keys, and the texts of a key for reading and one for SQL too."""
    path = tmp_path / "keys.json"
    return path, keys.create(path, "reader"), keys.create(path, "analyst", ("read", "sql"))


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_file_of_keys_holds_no_key(made):
    path, *texts = made
    kept = path.read_text()
    assert not any(text in kept or text.split("_", 2)[2] in kept for text in texts)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [key.name for key in keys.list_keys(path)] == ["reader", "analyst"]


def test_a_key_opens_its_scopes_and_no_more(store, made):
    path, reader, analyst = made
    http = create_app(store, Settings(keys=Keys(path))).test_client()
    answer = http.get("/v1/info")
    assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")
    assert "Basic" in answer.headers["WWW-Authenticate"]
    assert http.get("/v1/info", headers=bearer(reader)).status_code == 200
    assert http.get("/v1/info", auth=("anybody", reader)).status_code == 200
    answer = http.get("/v1/sql?sql=SELECT+1", headers=bearer(reader))
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert "needs the scope sql" in answer.json["detail"]
    assert http.get("/v1/sql?sql=SELECT+1", headers=bearer(analyst)).status_code == 200
    assert http.get("/sql?sql=SELECT+1", headers=bearer(reader) | HTML).status_code == 403


@pytest.mark.parametrize("path", ["/", "/features/tiny/0-res/3", "/sql", "/text", "/metrics", "/v1/dictionaries"])
def test_without_a_key_nothing_is_told(store, made, path):
    http = create_app(store, Settings(keys=Keys(made[0]))).test_client()
    answer = http.get(path)
    assert answer.status_code == 401
    assert "tiny" not in answer.text


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/docs", "/openapi.json", "/llms.txt", "/llms-full.txt", "/static/style.css"]
)
def test_what_the_service_is_needs_no_key(store, made, path):
    with create_app(store, Settings(keys=Keys(made[0]))).test_client().get(path) as answer:
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "wrong",
    ["", "x", "fsk_", "fsk__", "fsk_00000000_x", "Bearer", "\u00ff", "fsk_{id}_", "fsk_{id}_{other}", "{secret}"],
)
def test_strange_keys_are_refused(made, wrong):
    path, reader, analyst = made
    _, id, secret = reader.split("_", 2)
    text = wrong.format(id=id, secret=secret, other=analyst.split("_", 2)[2])
    with pytest.raises(Unauthorized) as refused:
        Keys(path).check(text, "read")
    assert not secret or secret not in str(refused.value)


def test_a_revoked_key_stops_at_once(store, made):
    path, reader, analyst = made
    http = create_app(store, Settings(keys=Keys(path))).test_client()
    assert http.get("/v1/info", headers=bearer(reader)).status_code == 200
    keys.revoke(path, reader.split("_")[1])
    assert http.get("/v1/info", headers=bearer(reader)).status_code == 401
    assert http.get("/v1/info", headers=bearer(analyst)).status_code == 200
    with pytest.raises(NotFound, match="no key 'zz'"):
        keys.revoke(path, "zz")


def test_keys_from_the_environment_and_files_that_hold_none(made, tmp_path):
    path, reader, _ = made
    assert Keys(text=path.read_text()).check(reader, "read").name == "reader"
    with pytest.raises(NotFound, match="featurestore keys create"):
        Keys(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("hello")
    with pytest.raises(BadRequest, match="holds no keys"):
        Keys(tmp_path / "bad.json")
    with pytest.raises(BadRequest, match="scope: 'root'"):
        keys.create(path, "x", ("root",))


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_keys_rate_and_number_at_once():
    now = [0.0]
    quotas = Quotas(lambda: now[0])
    key = Key(id="a", name="k", hash="", scopes=("read",), rate=2, at_once=3)
    for _ in range(4):
        quotas.enter(key)()
    with pytest.raises(TooManyRequests, match="2 times a second") as refused:
        quotas.enter(key)
    assert refused.value.retry_after == 0.5
    now[0] = 10.0
    left = [quotas.enter(key) for _ in range(3)]
    with pytest.raises(TooManyRequests, match="3 requests under way"):
        quotas.enter(key)
    left.pop()()
    quotas.enter(key)


def test_lanes_leave_threads_for_feature_pages():
    lanes = Lanes(threads=8, patience=0.01)
    for name, most in (("sql", 2), ("activating", 1), ("search", 3)):
        for _ in range(most):
            lanes.enter(name)
        with pytest.raises((TooManyRequests, Unavailable)) as refused:
            lanes.enter(name)
        assert refused.value.retry_after > 0
    lanes.enter("light")


def test_a_turn_is_given_to_who_waits():
    lanes = Lanes(threads=8, patience=30)
    leave = [lanes.enter("sql"), lanes.enter("sql")]
    came = threading.Event()
    waiting = threading.Thread(target=lambda: (lanes.enter("sql"), came.set()))
    waiting.start()
    while lanes.lanes["sql"].queued == 0:
        pass
    with pytest.raises(TooManyRequests):
        lanes.enter("sql")
    leave.pop()()
    assert came.wait(20)
    waiting.join()


def test_a_flood_of_sql_leaves_feature_pages_be(store, monkeypatch):
    """SQL that never ends fills its lane; more of it is refused with Retry-After; a feature's page is answered."""
    release, began = threading.Event(), threading.Semaphore(0)
    answer_of = featurestore.store.Store.stream

    def slow(self, *arguments, **named):
        began.release()
        assert release.wait(30)
        return answer_of(self, *arguments, **named)

    monkeypatch.setattr(featurestore.store.Store, "stream", slow)
    app = create_app(store, Settings(threads=8))
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(app.test_client().get("/v1/sql?sql=SELECT+1").status_code))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    assert began.acquire(timeout=20)
    while len(statuses) < 9:
        pass
    refused = app.test_client().get("/v1/sql?sql=SELECT+1")
    page = app.test_client().get("/v1/features/tiny/0-res/8")
    release.set()
    for thread in threads:
        thread.join(30)
    assert (page.status_code, refused.status_code, refused.headers["Retry-After"]) == (200, 429, "1")
    assert refused.json["code"] == "too_many_requests"
    assert (statuses.count(200), statuses.count(429)) == (3, 9)
    assert app.test_client().get("/v1/sql?sql=SELECT+1").status_code == 200


def test_a_stream_holds_its_turn_to_the_last_row(store):
    app = create_app(store, Settings(threads=1))
    streaming = app.test_client().get("/v1/sql?sql=SELECT+*+FROM+range(100000)&format=json", buffered=False)
    codes = {app.test_client().get("/v1/sql?sql=SELECT+1").status_code}
    streaming.close()
    codes.add(app.test_client().get("/v1/sql?sql=SELECT+1").status_code)
    assert codes == {429, 200}


# --- hosts, origins, headers ------------------------------------------------------------------------------------------


def test_a_domain_pointed_at_loopback_is_refused(store):
    http = create_app(store, Settings(hosts=trusted_hosts("127.0.0.1"))).test_client()
    for host in ("127.0.0.1:8000", "localhost:8000", "[::1]:8000"):
        assert http.get("/v1/info", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:8000", "localhost@evil.example", "[", ""):
        assert http.get("/v1/info", headers={"Host": host}).status_code in (400, 403), host
    assert trusted_hosts("0.0.0.0") is None
    assert trusted_hosts("0.0.0.0", ("a.example",)) == {"a.example"}


def test_other_sites_read_only_where_they_are_named(store):
    http = create_app(store, Settings(origins=frozenset({"https://tool.example"}))).test_client()
    good = http.get("/v1/info", headers={"Origin": "https://tool.example"})
    assert good.headers["Access-Control-Allow-Origin"] == "https://tool.example"
    assert "Origin" in good.headers["Vary"]
    for origin in ("https://evil.example", "null", "https://tool.example.evil", "http://tool.example"):
        looked = http.get("/v1/info", headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in looked.headers
        asked = http.post("/v1/sql", json={"sql": "SELECT 1"}, headers={"Origin": origin})
        assert (asked.status_code, asked.json["code"]) == (403, "forbidden")
        assert http.options("/v1/sql", headers={"Origin": origin}).status_code == 403
    flight = http.options("/v1/sql", headers={"Origin": "https://tool.example"})
    assert (flight.status_code, "POST" in flight.headers["Access-Control-Allow-Methods"]) == (204, True)
    own = http.post("/v1/sql", json={"sql": "SELECT 1"}, headers={"Origin": "http://localhost"})
    assert own.status_code == 200


def test_headers_and_policy_are_on_every_answer(store):
    http = create_app(store).test_client()
    for path in ("/", "/docs", "/v1/info", "/v1/nothing", "/nothing", "/static/style.css"):
        answer = http.get(path, headers=HTML)
        headers = answer.headers
        answer.close()
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"


# --- paths, addresses, secrets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/static/../__init__.py",
        "/static/..%2f__init__.py",
        "/static/%2e%2e/__init__.py",
        "/static//etc/passwd",
        "/static/..\\__init__.py",
        "/v1/features/../../etc",
        "/v1/features/..%2f..%2f/etc/1",
        "/v1/vectors/%2e%2e/%2e%2e/0",
        "/v1/dictionaries/../..",
        "/features/..%2f..%2f/x/1",
        "/static/%00",
    ],
)
def test_no_path_leads_out(store, path):
    answer = create_app(store).test_client().get(path, follow_redirects=True)
    assert answer.status_code in (400, 404)
    assert "root:" not in answer.text
    assert "import" not in answer.text


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM 'http://127.0.0.1:9/x.parquet'",
        "SELECT * FROM read_csv('http://169.254.169.254/latest/meta-data')",
        "SELECT * FROM read_parquet('s3://bucket/x')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT getenv('HOME')",
        "ATTACH 'http://127.0.0.1:9/x.db'",
        "INSTALL httpfs",
        "COPY (SELECT 1) TO '/tmp/x'",
    ],
)
def test_sql_reaches_no_file_and_no_address(store, statement):
    answer = create_app(store).test_client().post("/v1/sql", json={"sql": statement})
    assert answer.status_code == 400
    assert "root:" not in answer.text
    condition = (
        create_app(store).test_client().post("/v1/search", json={"text": "x", "where": f"feature IN ({statement})"})
    )
    assert condition.status_code == 400


def test_info_does_not_tell_where_the_store_lies(store, tiny_store):
    http = create_app(store).test_client()
    assert http.get("/v1/info").json["location"] == tiny_store.name
    assert str(tiny_store.parent) not in http.get("/", headers=HTML).text


def test_the_log_has_every_request_and_no_secret(store, made, tmp_path):
    path, reader, _ = made
    log = AccessLog(str(tmp_path / "log"))
    http = create_app(store, Settings(keys=Keys(path), access_log=log)).test_client()
    http.get("/v1/search?text=my+secret+plan", headers=bearer(reader) | {"X-Request-Id": "mine-1"})
    http.get("/v1/info", headers=bearer("fsk_wrong_key") | {"X-Request-Id": "a\tb" + "x" * 100})
    log.close()
    text = (tmp_path / "log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["path"], line["status"], line["key"]) for line in lines] == [
        ("/v1/search", 200, "reader"),
        ("/v1/info", 401, None),
    ]
    assert (lines[0]["request"], len(lines[1]["request"])) == ("mine-1", 16)
    assert lines[0]["ms"] > 0
    # SECURITY.md lists them.
    fields = ["time", "request", "method", "path", "status", "ms", "bytes", "key", "remote"]
    assert [list(line) for line in lines] == [fields, fields]
    for hidden in ("secret", "plan", reader, reader.split("_", 2)[2], "wrong"):
        assert hidden not in text


def test_request_ids_come_back_and_are_in_problems(store):
    http = create_app(store).test_client()
    answer = http.get("/v1/nothing", headers={"X-Request-Id": "abc"})
    assert (answer.headers["X-Request-Id"], answer.json["request"]) == ("abc", "abc")
    first, second = (http.get("/healthz").headers["X-Request-Id"] for _ in range(2))
    assert first != second


def test_metrics_count_requests_by_route(store):
    http = create_app(store).test_client()

    def counted(route, status):
        name = f'featurestore_requests_total{{route="{route}",status="{status}"}} '
        found = [line for line in http.get("/metrics").text.splitlines() if line.startswith(name)]
        return float(found[0].removeprefix(name)) if found else 0.0

    route = "/v1/features/<model>/<source>/<index>"
    before = counted(route, 200), counted(route, 404), counted("other", 404)
    http.get("/v1/features/tiny/0-res/3")
    http.get("/v1/features/tiny/0-res/4")
    http.get("/v1/features/tiny/0-res/99")
    http.get("/v1/a-path-of-a-stranger")
    assert (counted(route, 200), counted(route, 404), counted("other", 404)) == (
        before[0] + 2,
        before[1] + 1,
        before[2] + 1,
    )
    text = http.get("/metrics").text
    assert "stranger" not in text

    def under_way():
        return re.search(r"^featurestore_requests_under_way (.*)$", http.get("/metrics").text, re.MULTILINE)[1]

    before = under_way()
    http.get("/v1/features/tiny/0-res/3")
    assert under_way() == before  # the request that asks, and streams that other tests left open


# --- what travels -----------------------------------------------------------------------------------------------------


def test_what_has_not_changed_is_not_sent_again(tmp_path):
    from tests.support import tiny

    with tiny.write_tiny_store(tmp_path / "s") as store:
        http = create_app(store).test_client()
        paths = ("/v1/features/tiny/0-res/8", "/v1/vectors/tiny/0-res/8", "/v1/dictionaries")
        tags = {path: http.get(path).headers["ETag"] for path in paths}
        assert len(set(tags.values())) == 3
        for path, tag in tags.items():
            again = http.get(path, headers={"If-None-Match": tag})
            assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
            assert again.headers["Cache-Control"] == "private, no-cache"
        assert http.get(f"{paths[0]}?examples=1", headers={"If-None-Match": tags[paths[0]]}).status_code == 200
        with store.writer("tests") as writer:
            tiny.add_dictionary(writer, "2-res", 2)
        changed = create_app(featurestore.connect(tmp_path / "s")).test_client()
        for path, tag in tags.items():
            assert changed.get(path, headers={"If-None-Match": tag}).status_code == 200
        assert "ETag" not in http.get("/v1/features/tiny/0-res/99").headers


def test_any_answer_is_unchanged_only_where_there_is_one(store):
    http = create_app(store).test_client()
    star = {"If-None-Match": "*"}
    there = http.get("/v1/features/tiny/0-res/3", headers=star)
    assert (there.status_code, there.data) == (304, b"")
    assert there.headers["ETag"] == http.get("/v1/features/tiny/0-res/3").headers["ETag"]
    for path, status in (
        ("/v1/features/tiny/0-res/99", 404),
        ("/v1/features/tiny/9-res/3", 404),
        ("/v1/features/tiny/0-res/3?examples=x", 400),
        ("/v1/dictionaries/tiny/none", 404),
        ("/v1/graphs/none", 404),
        ("/v1/info", 200),  # has no ETag
    ):
        assert http.get(path, headers=star).status_code == status, path


def test_an_answer_kept_is_the_answer_computed(store, monkeypatch):
    http = create_app(store).test_client()
    paths = ("/v1/features/tiny/0-res/8", "/v1/features/tiny/0-res/8?examples=1", "/v1/features/tiny/1-res/8")
    first = [http.get(path).data for path in paths]
    monkeypatch.setattr(featurestore.store.Store, "feature", lambda *arguments: 1 / 0)
    assert [http.get(path).data for path in paths] == first
    assert len(set(first)) == 3
    assert http.get("/v1/features/tiny/0-res/9").status_code == 500


def test_large_answers_are_compressed_for_who_can_read_them(store):
    import gzip

    import pyarrow

    http = create_app(store).test_client()
    path = "/v1/features/tiny/0-res/8"
    plain = http.get(path)
    assert "Content-Encoding" not in plain.headers
    packed = http.get(path, headers={"Accept-Encoding": "gzip, zstd"})
    assert (packed.headers["Content-Encoding"], "Accept-Encoding" in packed.headers["Vary"]) == ("zstd", True)
    with pyarrow.CompressedInputStream(pyarrow.py_buffer(packed.data), "zstd") as stream:
        assert stream.read() == plain.data
    packed = http.get(path, headers={"Accept-Encoding": "gzip, zstd;q=0"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data)
    assert "Content-Encoding" not in http.get("/healthz", headers={"Accept-Encoding": "gzip"}).headers


# --- damage -----------------------------------------------------------------------------------------------------------


def test_an_access_log_on_a_full_disk_refuses_nobody(store, caplog):
    log = AccessLog("/dev/full")
    http = create_app(store, Settings(access_log=log)).test_client()
    assert [http.get(path).status_code for path in ("/healthz", "/v1/info", "/v1/nothing")] == [200, 200, 404]
    assert log.lost == 3
    assert "the access log cannot be written" in caplog.text
    log.close()


def test_what_an_extension_raises_beside_exception_ends_in_an_answer(store, monkeypatch, caplog):
    class Panic(BaseException):
        """As extensions written in Rust raise it."""

    def panic(self):
        raise Panic("a poisoned lock")

    http = create_app(store).test_client()
    monkeypatch.setattr(featurestore.store.Store, "info", panic)
    answer = http.get("/v1/info", headers={"X-Request-Id": "mine"})
    assert (answer.status_code, answer.json["code"], answer.json["request"]) == (500, "error", "mine")
    assert "poisoned" not in answer.text
    assert "request mine: GET /v1/info failed" in caplog.text
    assert "a poisoned lock" in caplog.text
    assert 'featurestore_requests_total{route="/v1/info",status="500"}' in http.get("/metrics").text
