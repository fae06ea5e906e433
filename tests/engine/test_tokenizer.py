"""Tokenizing in segments gives what tokenizing the whole gives, and text is never control."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.model_folders.locations import DEFAULT_MODEL
from engine.prompt import tokenizer as tokenizing
from engine.prompt.tokenizer import Tokenizer, TokenizerFailed, is_control
from syntax.children import child_environment

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])


@pytest.fixture(scope="module")
def path(model_cache: Path) -> Path:
    return model_cache / "models" / DEFAULT_MODEL / "tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer(path: Path) -> Tokenizer:
    return Tokenizer(path)


@pytest.fixture(scope="module")
def whole(path: Path) -> tokenizers.Tokenizer:
    """The library's own tokenizer, fed whole texts."""
    library = tokenizers.Tokenizer.from_file(str(path))
    library.encode_special_tokens = True
    return library


def test_segments_are_in_use(tokenizer: Tokenizer) -> None:
    assert tokenizer._boundary is not None


def test_standard_library_files_have_the_tokens_of_the_whole(tokenizer: Tokenizer, whole: tokenizers.Tokenizer) -> None:
    files = random.Random(5).sample(sorted(STANDARD_LIBRARY.glob("*.py")), 40)
    for file in files:
        text = file.read_bytes().decode("utf-8", "replace")
        assert tokenizer.encode(text) == whole.encode(text, add_special_tokens=False).ids, file.name


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(
        alphabet=st.one_of(st.sampled_from(" \t\r\n\n  ab1_(){}:\"'.é🎉漢"), st.characters(exclude_categories=["Cs"])),
        max_size=80,
    )
)
def test_any_text_has_the_tokens_of_the_whole(tokenizer: Tokenizer, whole: tokenizers.Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == whole.encode(text, add_special_tokens=False).ids


def test_names_of_special_tokens_in_text_stay_text(tokenizer: Tokenizer, path: Path) -> None:
    special = {
        index
        for index, token in tokenizers.Tokenizer.from_file(str(path)).get_added_tokens_decoder().items()
        if token.special
    }
    text = "a = '<fim_middle>' + '<|endoftext|>'  # <filename>x.py\n<fim_suffix><fim_prefix>"
    tokens = tokenizer.encode(text)
    assert special
    assert not special & set(tokens)
    assert tokenizer.decode(tokens) == text


def test_tokens_that_agree_with_a_text_extend_it_or_begin_it(tokenizer: Tokenizer) -> None:
    tokens, begun = tokenizer.vocabulary.agreeing_with("retu")
    agreeing = {tokenizer.decode([token]): begun.get(token, "") for token in tokens.tolist()}
    assert agreeing["return"] == agreeing["returns"] == ""
    assert agreeing["ret"] == "u"
    assert agreeing["r"] == "etu"
    assert all(word.startswith("retu") or "retu".startswith(word) for word in agreeing)


def test_half_a_surrogate_pair_is_a_replacement_character(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud83d b\n\udc4d")) == "a\ufffd b\n\ufffd"


def test_a_stream_gives_whole_characters_only(tokenizer: Tokenizer) -> None:
    text = "naïve 🎉 漢字 👩‍👩‍👧 = 'ok'\n"
    piece_of = tokenizer.stream()
    pieces = [piece_of(token) for token in tokenizer.encode(text)]
    assert "".join(pieces) == text
    assert "" in pieces  # some tokens end in the middle of a character
    assert "\ufffd" not in "".join(pieces)


def test_threads_do_not_disturb_each_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each evicts what the other has just looked up: more segments than are remembered."""
    monkeypatch.setattr(tokenizing, "_REMEMBERED_SEGMENTS", 8)
    shared, alone = Tokenizer(path), Tokenizer(path)
    texts = ["\n".join(f"name_{start + line} = {line}" for line in range(40)) for start in range(0, 400, 40)]
    expected = {text: alone.encode(text) for text in texts}

    def encode(seed: int) -> bool:
        order = random.Random(seed).choices(texts, k=60)
        return all(shared.encode(text) == expected[text] for text in order)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(encode, range(8)))


@pytest.fixture
def endless(path: Path, tmp_path: Path) -> Path:
    """A tokenizer with a rule that backtracks without end where many an x is followed by no y."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    rule = {"type": "Split", "pattern": {"Regex": "(?:x+x+)+y"}, "behavior": "Isolated", "invert": False}
    fields["pre_tokenizer"]["pretokenizers"].insert(0, rule)
    written = tmp_path / "tokenizer.json"
    written.write_text(json.dumps(fields), encoding="utf-8")
    return written


def test_typing_in_a_long_line_remembers_no_more_than_there_is_room_for(path: Path) -> None:
    """Each keystroke makes another segment, as long as the line."""
    tokenizer = Tokenizer(path)
    line = "values = [" + ", ".join(map(str, range(6_000)))
    for number in range(60):
        tokenizer.encode(f"{line}, {number}")
    assert len(line) * 60 > tokenizing._REMEMBERED_CHARACTERS
    assert sum(map(len, tokenizer._remembered)) == tokenizer._characters <= tokenizing._REMEMBERED_CHARACTERS
    assert tokenizer.encode(line) == tokenizer.encode_once(line)


def test_a_text_that_the_library_panics_at_costs_that_text(endless: Path, tokenizer: Tokenizer) -> None:
    fragile = Tokenizer(endless)
    for call in (fragile.encode, fragile.encode_once, fragile.split_last_word):
        with pytest.raises(TokenizerFailed, match="retry-limit"):
            call("a = " + "x" * 40)
        assert fragile.encode("a = 1\n") == tokenizer.encode("a = 1\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts threads among a user's processes")
def test_a_machine_that_starts_no_more_threads_tokenizes_on_one(path: Path, tokenizer: Tokenizer) -> None:
    as_another = ["setpriv", "--reuid", "12348", "--regid", "12348", "--clear-groups"]
    as_another += ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]  # who may read all
    unprivileged = as_another if os.getuid() == 0 else []  # no limit of processes binds root
    text = "def f(a):\n    return a\n"
    code = "import sys; from engine.prompt.tokenizer import Tokenizer; from pathlib import Path; "
    code += f"print(Tokenizer(Path(sys.argv[1])).encode({text!r}))"
    done = subprocess.run(
        [*unprivileged, "prlimit", "--nproc=1", sys.executable, "-c", code, str(path)],
        env=child_environment({"OPENBLAS_NUM_THREADS": "1"}),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == tokenizer.encode(text)


QWEN = (
    "<tool_call>",
    "</tool_call>",
    "<|repo_name|>",
    "<|fim_hole|>",
    "[PAD]",
    "<｜fim▁begin｜>",
    "@@control@@",
    "▁<x>",
)
TEXTS = ("  ", "        ", "\t\t", "\n\n", "õ", "ponies")


@pytest.fixture(scope="module")
def with_added_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vocabulary with added tokens of every kind, none of them marked as special but one."""
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(["def tool_call(x): return fim_hole <tool> </tool>"] * 9, trainer)
    library.add_special_tokens(["<|im_end|>"])
    kinds = ({}, {"normalized": True}, {"lstrip": True}, {"rstrip": True}, {"single_word": True})
    library.add_tokens(
        [
            tokenizers.AddedToken(content, **{"normalized": False, **kinds[number % len(kinds)]})
            for number, content in enumerate(QWEN)
        ]
    )
    library.add_tokens([tokenizers.AddedToken(content, normalized=False) for content in TEXTS])
    path = tmp_path_factory.mktemp("added") / "tokenizer.json"
    library.save(str(path))
    return path


@pytest.mark.parametrize("around", ["{}", "x = {} + 1", " {} ", "{}{}", "\n{}\n", '"{}"', "a{}b"])
def test_no_text_becomes_control_although_the_token_is_not_marked_special(with_added_tokens: Path, around: str) -> None:
    tokenizer = Tokenizer(with_added_tokens)
    added = tokenizers.Tokenizer.from_file(str(with_added_tokens)).get_added_tokens_decoder()
    control = {number for number, token in added.items() if is_control(token.content)}
    assert len(control) == len(QWEN) + 1
    for content in (*QWEN, "<|im_end|>"):
        text = around.replace("{}", content)
        for tokens in (tokenizer.encode(text), tokenizer.encode_once(text)):
            assert not control & set(tokens), text
            assert tokenizer.decode(tokens) == text


@pytest.mark.parametrize("content", TEXTS)
def test_added_tokens_that_are_text_stay_tokens(with_added_tokens: Path, content: str) -> None:
    number = tokenizers.Tokenizer.from_file(str(with_added_tokens)).token_to_id(content)
    assert number in Tokenizer(with_added_tokens).encode_once(f"x{content}y")


def test_no_added_token_of_the_default_model_comes_from_text(path: Path, tokenizer: Tokenizer) -> None:
    added = tokenizers.Tokenizer.from_file(str(path)).get_added_tokens_decoder()
    assert added
    for number, token in added.items():
        assert number not in tokenizer.encode(f"x = {token.content}\n")
