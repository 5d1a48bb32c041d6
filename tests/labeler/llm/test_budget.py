"""Budgets in money and tokens, which no run exceeds."""

import pytest

import featurestore
from featurestore import BadRequest
from featurestore.progress import no_progress
from labeler import prompts
from labeler.explainers import llm_explainer
from labeler.llm import budget
from labeler.llm.asker import Asker
from labeler.llm.budget import Budget, Limit, Prices
from labeler.llm.completions import bound_tokens
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
