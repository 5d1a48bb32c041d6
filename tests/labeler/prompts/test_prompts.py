"""Prompts as files, replies of all sorts, and what a run costs."""

import json

import pytest

import featurestore
from featurestore import BadRequest, NotFound
from featurestore.cli.main import main
from featurestore.progress import no_progress
from labeler import prompts
from labeler.explainers import label_flaws, llm_explainer
from labeler.llm import budget, replies
from labeler.llm.asker import Asker
from labeler.llm.budget import Budget, Limit, Prices
from labeler.llm.completions import Answer, bound_tokens
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.runs import label_run
from tests.support import fake_llm, label_store, tiny


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s") as opened:
        yield opened


@pytest.fixture
def page(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened.feature("tiny/0-res/3")


def ask_of(*replies):
    """Answers one reply after the other; keeps what was asked."""
    asked = []

    def ask(messages, **settings):
        asked.append((messages, settings))
        reply = replies[len(asked) - 1]
        return reply if isinstance(reply, Answer) else Answer(reply)

    return ask, asked


# --- files ---------------------------------------------------------------------------------------------------------


def test_every_prompt_that_is_shipped_can_be_filled(page):
    found = {
        prompt.name: llm_explainer.build_messages(page, prompt, page.examples) for prompt in prompts.list_prompts()
    }
    assert set(found) == {"contrastive", "logits", "outputs", "pairs", "windows"}
    for name, talk in found.items():
        said = "".join(one["content"] for one in talk)
        assert "{{" not in said, name
        assert [one["role"] for one in talk] == ["system", "user"]
    user = {name: talk[1]["content"] for name, talk in found.items()}
    assert "<< x>>( self)" in user["windows"] and "Active:" not in user["windows"]
    assert "Active: ' x' 5" in user["pairs"] and "' ValueError'" in user["pairs"]
    assert "'\\n'" in user["logits"], "what it makes less likely"
    assert "<<" not in user["outputs"]
    assert "silent:\n\nText 1:\ndef x( self):" in user["contrastive"]


def test_a_prompt_of_ones_own_is_named_with_its_hash(tmp_path, page):
    copy = tmp_path / "mine.md"
    copy.write_text(prompts.load("windows").path.read_text().replace("name: windows", "name: mine"))
    mine = prompts.load(copy)
    assert mine.id.startswith("mine/1@") and len(mine.id) == len("mine/1@") + 8
    assert llm_explainer.build_messages(page, mine) == llm_explainer.build_messages(page, prompts.load("windows"))
    (tmp_path / "other.md").write_text(copy.read_text() + "More.\n")
    assert prompts.load(tmp_path / "other.md").id != mine.id


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Say what it is", "is no prompt: it begins with ---"),
        ("---\nname: x\n---\n# System\na\n# User\nb", "is no prompt: it begins with ---"),
        ("---\nname: x\nversion: 1\n---\nno sections", "has the sections `# System` and `# User`"),
        ("---\nname: x\nversion: 1\n---\n# System\na\n# User\n{{pears}}", r"\{\{pears\}\} is nothing we know"),
        ("---\nname: x\nversion: 1\n---\n# System\na\n# User\nb", "asks about no feature"),
    ],
)
def test_files_that_are_no_prompts(tmp_path, text, words):
    (tmp_path / "p.md").write_text(text)
    with pytest.raises(BadRequest, match=words):
        prompts.load(tmp_path / "p.md")


def test_a_prompt_that_is_not_there():
    with pytest.raises(NotFound, match="'pears': it is neither a file nor one of contrastive, logits, outputs, pairs"):
        prompts.load("pears")


def test_texts_are_not_read_as_places(page):
    """A text with braces in it is put in as it is."""
    prompt = prompts.load("windows")
    filled = prompt.fill({"windows": "{{pairs}} \\1 {{windows}}"})
    assert filled[1]["content"] == "{{pairs}} \\1 {{windows}}"


def test_silent_are_texts_that_overlap_none_of_its_own(page):
    other = page.examples[0]
    assert llm_explainer.select_silent(page.examples, [other]) == []
    apart = type(other)(**{name: getattr(other, name) for name in other.__struct_fields__} | {"document": 99})
    behind = type(other)(
        **{name: getattr(other, name) for name in other.__struct_fields__} | {"start": other.start + len(other.tokens)}
    )
    assert llm_explainer.select_silent([other], [other, apart, behind]) == [apart, behind]


# --- replies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label",
    [
        "various topics",
        "Words in different contexts",
        "a variety of subjects and concepts",
        "no clear pattern",
        "text",
        "Miscellaneous tokens.",
        "general text, with no specific theme",
    ],
)
def test_vague(label):
    assert label_flaws.is_vague(label)


@pytest.mark.parametrize(
    "label", ["various chemical elements", "the word 'for'", "(", "numbers", "text about bridges", "“of” and “or”"]
)
def test_not_vague(label):
    assert not label_flaws.is_vague(label)


def test_a_vague_label_is_asked_about_once(page):
    ask, asked = ask_of('{"label": "various topics"}', '{"label": "self in signatures"}')
    found = llm_explainer.explain(page, prompts.load(), ask)
    assert found == ("self in signatures", 3, None)
    talk = asked[1][0]
    assert [one["role"] for one in talk] == ["system", "user", "assistant", "user"]
    assert "says too little" in talk[3]["content"]
    ask, asked = ask_of('{"label": "various topics"}', '{"label": "many things"}', "never asked")
    assert llm_explainer.explain(page, prompts.load(), ask) == ("many things", 3, "vague")
    ask, _ = ask_of('{"label": "various topics"}', "")
    assert llm_explainer.explain(page, prompts.load(), ask) == ("various topics", 3, "vague")


@pytest.mark.parametrize("label", ["异常处理代码", "имена исключений", "the 名前 of 例外クラスの名前"])
def test_a_label_in_another_script_is_asked_about_once(page, label):
    ask, asked = ask_of(json.dumps({"label": label}), '{"label": "names of exceptions"}')
    assert llm_explainer.explain(page, prompts.load(), ask) == ("names of exceptions", 3, None)
    assert "language of the instructions" in asked[1][0][3]["content"]
    ask, _ = ask_of(json.dumps({"label": label}), json.dumps({"label": label}))
    assert llm_explainer.explain(page, prompts.load(), ask).flaw == "foreign"


@pytest.mark.parametrize("label", ["the particle 'の' after a noun", "Größenangaben in Überschriften", "(", "“имена”"])
def test_labels_of_the_script_of_the_prompt(label):
    assert label_flaws.find_flaw(label, prompts.load().system) is None


def test_a_reply_that_was_cut_off_gets_more_room(page):
    ask, asked = ask_of(Answer('{"label": "sel', finish="length"), '{"label": "self"}')
    assert llm_explainer.explain(page, prompts.load(), ask).label == "self"
    assert asked[0][0] == asked[1][0]
    assert asked[1][1]["max_tokens"] > 200


def test_an_unreadable_reply_is_asked_about_once(page):
    ask, asked = ask_of('{"labels": []}', 'Sure: {"label": "self"}')
    assert llm_explainer.explain(page, prompts.load(), ask).label == "self"
    assert asked[0][1]["schema"] == llm_explainer.SCHEMA
    ask, asked = ask_of("", "")
    with pytest.raises(replies.UnreadableReply, match="empty reply"):
        llm_explainer.explain(page, prompts.load(), ask)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ('<think>maybe {"label": "no"}</think>{"label": "yes"}', "yes"),
        ('{"label": "a {brace} in it"} and more', "a {brace} in it"),
        ('Here: {not json} {"label": "x y"}', "x y"),
        ("Explanation: names of rivers", "names of rivers"),
        ('{"label": "Namen von Flüssen"}', "Namen von Flüssen"),
    ],
)
def test_tolerant_reading(reply, label):
    assert replies.parse_label(reply) == label


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer("<think>and so on and", finish="length"), "reply was cut off"),
        (Answer("names of", finish="length"), "reply was cut off"),
        (Answer('{"label": ["a", "b"]}'), "JSON without a label"),
        (Answer("[1, 2]\n" * 100), "reply too long for a label"),
    ],
)
def test_unreadable(answer, why):
    with pytest.raises(replies.UnreadableReply, match=why):
        replies.parse_label(answer)


# --- runs ----------------------------------------------------------------------------------------------------------


def test_vague_labels_are_marked_and_counted(store):
    with fake_llm.Endpoint(answer=lambda asked: '{"label": "various topics"}') as endpoint:
        report = label_run.label_with_model(store, Endpoint("judge", endpoint.url), progress=no_progress, limit=5)
    assert (report.labelled, report.flawed) == (5, {"vague": 5})
    assert store.sql("SELECT DISTINCT prompt FROM labels WHERE explainer = 'judge'")["prompt"].to_pylist() == [
        "pairs/1+vague"
    ]


def test_labels_of_two_prompts_stand_side_by_side(store):
    with fake_llm.Endpoint() as endpoint:
        for prompt in ("pairs", "contrastive", "outputs"):
            report = label_run.label_with_model(
                store, Endpoint("judge", endpoint.url), progress=no_progress, prompt=prompt, dictionaries=["tiny/0-res"]
            )
            assert sum(report.failed.values()) + report.labelled == (24 if prompt == "outputs" else 23)
    rows = store.sql("SELECT explainer, prompt, count(*) AS n FROM labels GROUP BY ALL ORDER BY ALL").to_pylist()
    found = {row["explainer"]: (row["prompt"], row["n"]) for row in rows}
    assert found["judge"] == ("pairs/1", 23)
    assert found["judge+outputs"] == ("outputs/1", 24), "a dead feature has an output side"


def test_contrastive_shows_where_neighbours_fire_and_it_does_not(tmp_path):
    """Feature 0 is active in document 0, its neighbour 8 in document 1; 16, as near, where feature 0 is."""
    path = tmp_path / "s"
    opened = tiny.write_tiny_store(path, index=False)
    name = "tiny/2-res"
    with opened.writer("tests") as writer:
        writer.add("dictionaries", tiny.table([tiny.dictionary_row("2-res", 2)]), key=name)
        writer.add("features", tiny.table(tiny.feature_rows(name)), key=name)
        rows = [row for row in tiny.example_rows(name) if row["document"] == 0]
        writer.add(
            "examples",
            tiny.table(
                [
                    row
                    | (
                        {"document": 1, "length": 5, "offsets": [1]} | {"activations": [2.0]}
                        if row["feature"] == 8
                        else {}
                    )
                    for row in rows
                ]
            ),
            key=name,
        )
        writer.add_vectors(name, tiny.vectors(2))
    opened.index()
    with fake_llm.Endpoint() as endpoint:
        asked = []
        endpoint.answer = lambda request: asked.append(request) or fake_llm.label_of(request)
        report = label_run.label_with_model(
            opened,
            Endpoint("judge", endpoint.url),
            progress=no_progress,
            prompt="contrastive",
            where="feature = 0",
            dictionaries=[name],
        )
    assert report.labelled == 1
    mine, silent = asked[0]["messages"][1]["content"].split("Texts on which it is silent:")
    assert "def<< x>>(<< self>>):" in mine
    assert silent.strip() == "Text 1:\n raise ValueError()"


# --- money ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("2.50", Limit(2.5, True)),
        ("0", Limit(0, True)),
        ("800tokens", Limit(800, False)),
        ("800k tokens", Limit(800_000, False)),
        ("1.5Mtokens", Limit(1_500_000, False)),
    ],
)
def test_budgets(text, limit):
    assert budget.parse_limit(text, Prices(1, 1)) == limit


@pytest.mark.parametrize("text", ["lots", "-1", "5 dollars", "", "1e6", "5M"])
def test_no_budgets(text):
    with pytest.raises(BadRequest, match="is no amount"):
        budget.parse_limit(text, None)


def test_money_needs_prices():
    with pytest.raises(BadRequest, match="needs --price-in and --price-out"):
        budget.parse_limit("5", None)
    assert budget.parse_limit("0", None).amount == 0


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_budget_is_never_overspent_and_a_new_one_goes_on(tmp_path, concurrency):
    with (
        label_store.write_many(tmp_path / "s", 60) as store,
        fake_llm.Endpoint(fault=fake_llm.fault_on_schedule(7)) as endpoint,
        Journal(tmp_path / "j") as kept,
    ):
        page = store.feature(f"{label_store.NAME}/0")
        one = bound_tokens(llm_explainer.build_messages(page, prompts.load())) + 200
        prices, spent, rounds = Prices(10.0, 20.0), 0.0, 0
        while True:
            account = Budget(Limit(prices.of(5 * one, 0), True), prices)
            asker = Asker([Endpoint("judge", endpoint.url, concurrency=concurrency)], kept, account)
            report = label_run.label_with_model(store, asker, progress=no_progress)
            assert report.money <= account.limit.amount
            spent, rounds = spent + report.money, rounds + 1
            if report.stopped is None:
                break
            assert "run it again" in report.stopped
            assert report.left > 0
            assert report.paid >= 3, "most of it is spent"
        done = endpoint.account()
        assert spent == pytest.approx(prices.of(done["tokens_in"], done["tokens_out"]))
        assert (done["twice"], rounds > 2) == (0, True)


def test_a_budget_of_zero_asks_nothing(store, tmp_path):
    with fake_llm.Endpoint() as endpoint:
        asker = Asker([Endpoint("judge", endpoint.url)], None, Budget(Limit(0, True)))
        report = label_run.label_with_model(store, asker, progress=no_progress)
        assert (report.labelled, report.paid, endpoint.requests) == (0, 0, 0)
        assert "budget is 0" in report.stopped


def test_the_estimate_is_near_what_it_costs(tmp_path):
    with label_store.write_many(tmp_path / "s", 80) as store, fake_llm.Endpoint() as endpoint:
        job, account = label_run.LabelJob.of("judge"), Budget(None, Prices(1.0, 2.0))
        about = label_run.estimate_cost(store, job, job.choose(store), account)
        assert endpoint.requests == 0
        report = label_run.label_with_model(
            store, Asker([Endpoint("judge", endpoint.url)], None, account), job, progress=no_progress
        )
        assert about.features == report.labelled == 80
        assert 0.5 < about.tokens_in / report.tokens_in < 2
        assert about.money == pytest.approx((about.tokens_in + 2 * about.tokens_out) / 1e6)


def test_the_command_counts_keeps_and_goes_on(tmp_path, invoke):
    path = str(tmp_path / "s")
    tiny.write_tiny_store(tmp_path / "s", index=False).close()
    with fake_llm.Endpoint() as endpoint:
        common = ["label", "--store", path, "--model", "judge", "--endpoint", endpoint.url, "--no-index"]
        prices = ["--price-in", "1", "--price-out", "2"]
        dry = invoke(main, [*common, *prices, "--dry-run", "--json"])
        about = json.loads(dry.stdout)
        assert (about["features"], endpoint.requests) == (46, 0)
        assert about["money"] > 0
        stopped = invoke(main, [*common, "--budget", "2ktokens", "--concurrency", "2"])
        assert stopped.exit_code == 0
        assert "might not be enough for another request" in stopped.stderr
        assert "answers paid" in stopped.stderr
        assert 0 < endpoint.tokens_in + endpoint.tokens_out <= 2000
        little = invoke(main, [*common, "--budget", "20tokens"])
        assert "20 tokens is not enough for one request" in little.stderr
        zero = invoke(main, [*common, "--budget", "0"])
        assert "the budget is 0, so nothing was asked" in zero.stderr
        refused = invoke(main, [*common, "--budget", "5"])
        assert (refused.exit_code, "needs --price-in" in refused.stderr) == (2, True)
        before = endpoint.account()["completed"]
        whole = invoke(main, [*common, "--order", "density desc", "--json"])
        report = json.loads(whole.stdout)
        assert (report["failed"], report["stopped"], report["left"]) == ({}, None, 0)
        assert report["labelled"] + report["skipped"] == 46
        assert report["paid"] == endpoint.account()["completed"] - before
    assert (tmp_path / "s.journal.jsonl").exists()


def test_the_prompts_command(tmp_path, invoke):
    listed = [json.loads(line) for line in invoke(main, ["label", "prompts", "--json"]).stdout.splitlines()]
    assert [one["prompt"] for one in listed] == ["contrastive/1", "logits/1", "outputs/1", "pairs/1", "windows/1"]
    shown = invoke(main, ["label", "prompts", "contrastive"]).stdout
    assert shown == prompts.load("contrastive").path.read_text()
    missing = invoke(main, ["label", "prompts", "pears"])
    assert (missing.exit_code, "no prompt 'pears'" in missing.stderr) == (3, True)
    assert "contrastive/1" in invoke(main, ["label", "prompts"]).stdout
