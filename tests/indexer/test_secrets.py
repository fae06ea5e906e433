"""Secrets reach neither the index nor a prompt; what is none is left alone."""

from __future__ import annotations

import os
import random
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from evaluation.secrets.corpus import Planted, came_through, corpus
from evaluation.secrets.measures import recall, sources, taken
from indexer import Index, database_of, index_now, note_on, why_not
from indexer.files.text import Refusal, judge, read_text
from indexer.secrets import secret_name, secrets_in, without_secrets
from indexer.secrets.rules import BLOCKS, CONTEXTS, TOKENS
from indexer.store.store import Store
from syntax import Cursor, DocumentId, language_of

SEED = int(os.environ.get("SECRETS_SEED", time.time_ns() % 1_000_000))
"""Printed where a test fails; set the variable to repeat it."""
STRIPE = "sk_live_" + "Zq8Lw2Xv5Nt7Rb3Ky9Hm4Jc6"
STANDARD_LIBRARY, PACKAGES = (Path(sysconfig.get_paths()[name]) for name in ("stdlib", "purelib"))
HARMLESS = [f"line_{number} = {number}" for number in range(60)]


def among(line: str, at: int = 30) -> str:
    return "\n".join((*HARMLESS[:at], line, *HARMLESS[at:])) + "\n"


def shown(missed: list[Planted]) -> str:
    return f"SECRETS_SEED={SEED}\n" + "\n".join(f"{one.kind}, {one.name}: {one.text[:2000]}" for one in missed[:20])


def test_there_are_more_than_sixty_kinds_and_each_has_its_source() -> None:
    rules = (*TOKENS, *CONTEXTS, *BLOCKS)
    assert len({rule.what for rule in rules}) > 60
    assert all(rule.source for rule in rules)


def test_at_least_95_of_100_secrets_made_anew_are_found() -> None:
    found = recall(list(corpus(SEED, 2)))
    assert len(found) > 100
    missed = [one for _, kind in found.values() for one in kind]
    planted = sum(count for count, _ in found.values())
    assert planted > 3_000
    assert len(missed) <= planted * 0.05, shown(missed)
    rarely = {kind: (count, len(missed)) for kind, (count, missed) in found.items() if len(missed) > count / 3}
    assert not rarely, f"SECRETS_SEED={SEED}"


@pytest.fixture(scope="module")
def planted() -> list[Planted]:
    """Two files of each kind, in some of the languages."""
    everything = list(corpus(SEED, 1))
    random.Random(SEED).shuffle(everything)
    counts: Counter[str] = Counter()
    chosen = []
    for one in everything:
        if counts[one.kind] < 2:
            counts[one.kind] += 1
            chosen.append(one)
    return chosen


@pytest.fixture(scope="module")
def workspace(planted: list[Planted], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Index, Path, Path]]:
    """A workspace of these files, read by the index, and its database; what it does not read is open in the editor."""
    root, cache = tmp_path_factory.mktemp("root").resolve(), tmp_path_factory.mktemp("cache")
    index = Index(cache)
    for number, one in enumerate(planted):
        file = root / f"folder{number}" / one.name
        file.parent.mkdir()
        file.write_text(one.text, encoding="utf-8")
        opened = DocumentId.in_folder(root, f"opened/{number}/{one.name}")
        index.update(opened, language_of(one.name), one.text)
    database = database_of(root, cache)
    assert index_now(root, database, lambda message: None)
    index.open_folder(root, watched=False)
    index.refresh()
    yield index, root, database
    index.close()


def families(planted: list[Planted]) -> set[tuple[str, str]]:
    """A file name and a language of each kind of file."""
    return {(f"asking{PurePosixPath(one.name).suffix or 'Dockerfile'}", language_of(one.name)) for one in planted}


def test_none_reaches_the_texts_of_the_index(planted: list[Planted], workspace: tuple[Index, Path, Path]) -> None:
    store = Store.readable(workspace[2])
    texts = {path: store.text(path) for path in store.states()}
    store.close()
    assert len(texts) > 100
    assert sum(text is not None for text in texts.values()) > 30  # most of these are there without a line
    missed = [one for number, one in enumerate(planted) if came_through(one, texts.get(f"folder{number}/{one.name}"))]
    assert len(missed) <= len(planted) * 0.05, shown(missed)


def test_none_reaches_a_prompt(planted: list[Planted], workspace: tuple[Index, Path, Path]) -> None:
    index, root, _ = workspace
    seen = []
    for path, language in families(planted):
        document = DocumentId.in_folder(root, path)
        text = f"{' '.join(sorted({one.text.split()[0] for one in planted}))}\nvalue header settings line port\n"
        seen += [
            one.text
            for one in index.neighbours(
                Cursor(DocumentId.in_folder(root, path), language, text, 0), most=10_000, characters=10**9
            )
        ]
        seen += [one.text for one in index.context_for(Cursor(document, language, text, 0), within=60, tokens=10**6)]
    assert len(seen) > 100
    missed = [one for one in planted if came_through(one, "\n".join(seen))]
    assert len(missed) <= len(planted) * 0.05, shown(missed)


def test_hardly_any_file_of_the_standard_library_and_of_twenty_packages_is_taken_for_one_with_a_secret() -> None:
    sizes = Counter(file.relative_to(PACKAGES).parts[0] for file in PACKAGES.glob("*/**/*.py"))
    packages = [name for name, _ in sizes.most_common() if name not in ("torch", "transformers", "sympy")][:20]
    files, wrong = taken(sources([STANDARD_LIBRARY, *(PACKAGES / name for name in packages)]))
    assert files > 2_000
    assert len(wrong) <= files * 0.001, "\n".join(f"{file}: {secret}" for file, secret in wrong)


@pytest.mark.parametrize(
    "line",
    [
        'password = "correct-horse-battery-staple"',
        'token = os.environ["GITHUB_TOKEN"]',
        'secret_name = "production/database/password"',
        'api_key = "<your-api-key-1234567890>"',
        "api_key=${API_KEY}",
        "password: {{ vault_password1 }}",
        "token: ${{ secrets.GITHUB_TOKEN2 }}",
        'api_key = "YOUR_API_KEY_HERE_1234"',
        'api_key = "xxxxxxxxxxxxxxxxxxxx1"',
        'url = "postgres://user:password@localhost:5432/app"',
        'url = f"postgres://{user}:{password}@localhost/app"',
        'PASSWORD = r"^(?=.*[A-Z])(?=.*\\d).{8,}$"',
        "token = hashlib.sha256(text).hexdigest()",
        "self.token = Token2Identifier(text)",
        'token_id = "550e8400-e29b-41d4-a716-446655440000"',
        'integrity = "sha512-oRVp3Zq8Lw2Xv5Nt7Rb3Ky9Hm4Jc6Pd1S0fGu8Ea2Wi5Oz7Tk3Zq"',
        'commit = "9f86d081884c7d659a2feaa0c55ad015deadbeef"',
        'checksum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
        'cache_key = "v1-9f86d081884c7d659a2feaa0c55ad015"',
        'PublicKeyToken="b77a5c561934e089"',
        'if line == "-----BEGIN RSA PRIVATE KEY-----":',
        "Pass `verbosity=2` to see more",
    ],
)
def test_text_about_secrets_is_no_secret(line: str) -> None:
    assert secrets_in(among(line)) == []


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_line_with_a_secret_is_left_out_and_the_others_stay_where_they_are(ending: str) -> None:
    text = among(f'pay("{STRIPE}")').replace("\n", ending)
    kept = judge(text)
    assert isinstance(kept, str)
    assert kept == text.replace(f'pay("{STRIPE}")', "")
    assert kept.count("\n") == text.count("\n")


def test_a_block_is_left_out_as_a_whole() -> None:
    key = "\n".join(
        ["-----BEGIN OPENSSH PRIVATE KEY-----", *["b3BlbnNzaC1rZXktdjE" * 3] * 4, "-----END OPENSSH PRIVATE KEY-----"]
    )
    kept = judge(among(f'key = """{key}"""'))
    assert isinstance(kept, str)
    assert kept == among("\n" * key.count("\n"))


def test_text_that_was_folded_is_left_out_to_its_end() -> None:
    chance = random.Random(SEED)
    parts = ["".join(chance.choices("ABCDEFghijkl0123456789", k=30)) for _ in range(3)]
    kept = judge(among("api_key = (\n" + "\n".join(f'    "{part}"' for part in parts) + "\n)"))
    assert isinstance(kept, str)
    assert not any(part in kept for part in parts), f"SECRETS_SEED={SEED}"
    assert "line_59" in kept


def test_a_secret_is_left_out_wherever_it_stands_again() -> None:
    secrets = [f"Zq8Lw2Xv5Nt7Rb3Ky{number}" for number in range(5)]
    known = "\n".join(line for secret in secrets for line in (*HARMLESS, f'token = api_key = "{secret}"'))
    kept = judge(f"{known}\nconnect('{secrets[4]}')\n")
    assert isinstance(kept, str)
    assert not any(secret in kept for secret in secrets)
    assert kept.count("\n") == known.count("\n") + 2


def test_a_file_that_is_little_else_is_left_out_as_a_whole() -> None:
    assert without_secrets(among(f"x = '{STRIPE}'"))[0] is not None
    assert without_secrets("\n".join(("a = 1", f"x = '{STRIPE}'", *["", "b = 2"] * 8)))[0] is None
    many = "\n".join(line for number in range(11) for line in (*HARMLESS, f"x = '{STRIPE}{number}'"))
    assert without_secrets(many)[0] is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "key = '''\n-----BEGIN RSA PRIVATE KEY-----\nabc\n'''\n",
            "line 2 has what looks like a secret: a private key",
        ),
        ('\n\naws = "AKIAIOSFODNN7EXAMPLE"\n', "line 3 has what looks like a secret: an AWS access key id"),
        (f'api_key = "{STRIPE}"', "line 1 has what looks like a secret: a Stripe key"),
        ('api_key = "q8Zx1Lr0Tn5vYw3KdJ7bPs2M"\n', "a value under the name of a key"),
        ("db:\n  password: Tr0ub4dor3\n", "line 2 has what looks like a secret: a value under the name of a password"),
    ],
)
def test_a_refusal_names_the_line_and_what_it_looks_like(text: str, reason: str) -> None:
    found = read_text(text.encode())
    assert isinstance(found, Refusal)
    assert reason in found.reason


def test_no_sentence_has_the_secret_in_it() -> None:
    for one in corpus(SEED, 1):
        sentences = "\n".join(str(secret) for secret in secrets_in(one.text))
        assert not came_through(one, sentences), f"SECRETS_SEED={SEED} {one.kind}"


def test_the_lines_that_are_left_out_of_a_file_are_named(tmp_path: Path) -> None:
    file = tmp_path / "pay.py"
    file.write_text(among(f'pay("{STRIPE}")', 2))
    assert why_not(file, tmp_path) is None
    assert note_on(file) == "without line 3 (a Stripe key)"
    file.write_text(among("x = 1"))
    assert note_on(file) is None


def test_an_open_document_without_a_blank_line_keeps_its_choice(tmp_path: Path) -> None:
    index = Index(tmp_path)
    text = f"def pay_the_bill():\n    connect('{STRIPE}')\n    return 1\n" + "\n".join(HARMLESS)
    pay, shop = DocumentId.scratch("pay.py"), DocumentId.scratch("shop.py")
    index.update(pay, "python", text)
    chosen = index.context_for(Cursor(shop, "python", "pay_the_bill()", 0), within=30)
    assert "pay_the_bill" in chosen[0].text
    assert STRIPE not in chosen[0].text
    assert index.context_for(Cursor(shop, "python", "pay_the_bill()", 0), within=30) == chosen
    assert index._plans._plans[shop][0].snippets == chosen  # and it was not made anew
    assert len(index._plans._plans[shop]) == 1
    index.close()


@pytest.mark.parametrize(
    "path",
    [
        *(".env", ".env.production", "web/.npmrc", ".yarnrc.yml", ".docker/config.json", "home/.kube/config"),
        *("appsettings.Development.json", "wp-config.php", "infra/prod.tfvars", "terraform.tfstate", "secrets.yaml"),
        *("credentials.json", ".aws/credentials", "id_ed25519", ".git-credentials", ".htpasswd", "office.ovpn"),
        *("App.mobileprovision", ".pgpass", ".my.cnf", ".s3cfg", ".boto", "rclone.conf", "config/master.key", "a.JKS"),
    ],
)
def test_names_that_hold_secrets_by_convention(path: str) -> None:
    reason = secret_name(path)
    assert reason is not None
    assert reason.endswith("files often hold secrets")


@pytest.mark.parametrize(
    "path", ["config.json", "secrets.py", "src/credentials.ts", ".env.example", "id_rsa.pub", "environment.py"]
)
def test_names_that_are_judged_by_their_content(path: str) -> None:
    assert secret_name(path) is None


@pytest.mark.parametrize(
    "piece",
    [
        '"',
        "=",
        "a=",
        "key=",
        "password ",
        "password=",
        "key value ",
        "://a:",
        "a:b@tcp(",
        "login -p",
        'auth ("',
        "token: a",
    ],
)
def test_a_long_line_takes_time_in_proportion(piece: str) -> None:
    started = time.monotonic()
    secrets_in(piece * (500_000 // len(piece)))
    assert time.monotonic() - started < 120  # in proportion it is 2 s at most; by the square of its length, hours
