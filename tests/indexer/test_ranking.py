"""What is chosen for a place, by source: in a small project whose right answers are plain."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer import Snippet
from indexer.parsing.analysis import parse
from indexer.retrieval.pack import estimated_tokens, pack
from indexer.retrieval.query import ask
from indexer.retrieval.ranking import Ranked, retrieve
from indexer.store.overlay import Layer, Library
from indexer.store.writing import WritableStore
from indexer.sync.folder import Folder

FILES = {
    "shop/__init__.py": "",
    "shop/money.py": "RATE = 3\n\n\ndef convert(amount, currency):\n    '''Into another currency.'''\n"
    + "    amount += 1\n" * 20
    + "    return amount\n\n\ndef rounded(amount):\n    return round(amount)\n",
    "shop/cart.py": "class Cart(Base):\n    '''What a customer wants.'''\n\n    def __init__(self, owner):\n"
    "        self.owner = owner\n\n    def add_article(self, article, count=1):\n        return article\n\n"
    "    def _hidden(self):\n        pass\n",
    "shop/orders.py": "from shop.money import convert\n\n\ndef order_total(articles, currency):\n"
    "    total = sum(article.price for article in articles)\n    return convert(total, currency)\n",
    "other/money.py": "def convert(bitmap, palette):\n    return bitmap\n",
    "other/deep/down/away.py": "def convert(temperature):\n    return temperature\n",
    "tests/test_invoice.py": "def check_invoice_number(invoice):\n    assert invoice.number\n",
    "web/view.ts": "export function convert(view: View) {}\n",
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The project in an index."""
    root = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    store = WritableStore.in_memory()
    Folder(Path(root), store).scan()
    return Library(WritableStore.in_memory(), [Layer(root, store)], lambda root, path: True)


def ranked(library: Library, text: str, path: str = "shop/invoice.py", **more: list[tuple[str, int]]) -> list[Ranked]:
    return retrieve(ask(parse(text, path), path, text.count("\n")), library, **more)


def shown_lines(library: Library, one: Ranked) -> list[str]:
    lines = library.lines(one.candidate.path, one.candidate.lines)
    assert lines is not None
    return lines


def packed(library: Library, text: str, budget: int, path: str = "shop/invoice.py") -> list[Snippet]:
    question = ask(parse(text, path), path, text.count("\n"))
    return pack(retrieve(question, library), question, library, budget)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("from shop.money import convert\n\ntotal = convert(", "shop/money.py"),
        ("from .money import convert as into\n\ntotal = into(", "shop/money.py"),
        ("from other import money\n\ntotal = money.convert(", "other/money.py"),
        ("from other.deep.down.away import convert\n\ntotal = convert(", "other/deep/down/away.py"),
        ("total = convert(", "shop/money.py"),  # nothing is imported: the nearest
    ],
)
def test_a_name_is_resolved_through_the_imports_then_by_distance(library: Library, text: str, path: str) -> None:
    best = next(one for one in ranked(library, text) if "convert(" in shown_lines(library, one)[0])
    assert best.candidate.path == path
    assert "definition" in best.sources


def test_a_long_definition_is_shown_by_its_signature_and_documentation(library: Library) -> None:
    found = ranked(library, "from shop.money import convert, rounded\n\nconvert(rounded(")
    texts = ["\n".join(shown_lines(library, one)) for one in found if "definition" in one.sources]
    assert "def convert(amount, currency):\n    '''Into another currency.'''" in texts
    assert "def rounded(amount):\n    return round(amount)" in texts


def test_what_a_type_in_play_offers_is_found(library: Library) -> None:
    found = ranked(library, "from shop.cart import Cart\n\ndef pay(cart: Cart):\n    cart.")
    members = [one for one in found if "member" in one.sources]
    names = [shown_lines(library, one)[0].strip() for one in members]
    assert "def add_article(self, article, count=1):" in names
    assert names.index("def add_article(self, article, count=1):") < names.index("def _hidden(self):")


def test_code_that_uses_the_same_names_is_found(library: Library) -> None:
    found = ranked(library, "def refund_total(articles, currency):\n    price = articles[0].price\n    total = ")
    assert any(one.candidate.path == "shop/orders.py" and "similar" in one.sources for one in found)


def test_the_test_of_a_file_is_its_neighbour(library: Library) -> None:
    found = ranked(library, "def number_of(invoice):\n    return invoice.")
    assert any(one.candidate.path == "tests/test_invoice.py" and "neighbour" in one.sources for one in found)


def test_what_was_visited_last_is_found(library: Library) -> None:
    found = ranked(library, "x = ", recent=[("other/deep/down/away.py", 1)])
    assert [(one.candidate.path, one.sources) for one in found] == [("other/deep/down/away.py", ("recent",))]


def test_other_languages_are_not_asked(library: Library) -> None:
    assert all(not one.candidate.path.endswith(".ts") for one in ranked(library, "total = convert("))


def test_a_budget_holds_whole_pieces_and_the_best_is_last(library: Library) -> None:
    text = "from shop.money import convert\nfrom shop.cart import Cart\n\ndef pay(cart: Cart, currency):\n    convert("
    for budget in (0, 20, 60, 200, 800):
        snippets = packed(library, text, budget)
        assert sum(one.tokens for one in snippets) <= budget
        assert [one.score for one in snippets] == sorted(one.score for one in snippets)
        for one in snippets:
            assert one.tokens >= estimated_tokens(one.text) - one.text.count("\n") - 2
            assert set(one.text.splitlines()) <= set(FILES[one.path].splitlines())
    assert packed(library, text, 800)[-1].path in ("shop/money.py", "shop/cart.py")


def test_what_the_document_holds_already_is_left_out(library: Library) -> None:
    copied = "def convert(bitmap, palette):\n    return bitmap\n"
    assert all(one.path != "other/money.py" for one in packed(library, copied + "\nconvert(bitmap, ", 800))


def test_without_time_the_first_source_alone_answers(library: Library) -> None:
    text = "from shop.money import convert\n\ntotal = convert("
    found = retrieve(ask(parse(text, "a.py"), "a.py", 2), library, deadline=0.0)
    assert found
    assert {source for one in found for source in one.sources} == {"definition"}
