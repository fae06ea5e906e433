"""From packed files to examples: each reading has other middles, all of them a function of the seed."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from engine import CompletionRequest, ContextSnippet
from engine.model_folders.manifest import PromptFormat
from engine.prompt.layout import Budget, lay_out
from engine.prompt.tokenizer import Tokenizer
from training.card.data.files import Region, TaughtFile
from training.data.example import LANGUAGES, TOLD_ELSEWHERE, TRIES, WITHOUT_SUFFIX, Example, answered, told_elsewhere
from training.data.middles import Middle, Outline, choose_middle

# Prompts of all lengths that are served; each length gets about as many tokens as the others, long ones a little more.
BUDGETS = {256: 6, 384: 4, 512: 4, 768: 3, 1024: 3, 1536: 2, 2048: 2}
_WITH_CONTEXT = 0.5
_LEAST_SUFFIX = 64
_ATTEMPTS = 1000  # files that are drawn before it is plain that none of them gives an example


@dataclass(frozen=True, slots=True)
class LongSuffix(Budget):
    """A budget that leaves short prompts a little more of what stands below the cursor."""

    @property
    def suffix(self) -> int:
        """For what stands after the cursor."""
        return max(self.prompt // 8, _LEAST_SUFFIX)


class _Groups:
    """Files by language and package."""

    def __init__(self, files: Iterable[TaughtFile]) -> None:
        packages: dict[tuple[str, str], list[TaughtFile]] = defaultdict(list)
        for file in files:
            packages[file.language, file.package].append(file)
        self._groups: dict[str, list[list[TaughtFile]]] = defaultdict(list)
        for (language, _), group in packages.items():
            self._groups[language].append(group)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def draw(self, chance: random.Random) -> TaughtFile:
        """Draw a language, a package by the root of its size, a file of it."""
        languages = [language for language in LANGUAGES if language in self._groups] or list(self._groups)
        language = chance.choices(languages, [LANGUAGES.get(name, 1.0) for name in languages])[0]
        groups = self._groups[language]
        return chance.choice(chance.choices(groups, [len(group) ** 0.5 for group in groups])[0])


class Drawer:
    """Cuts examples out of packed files. Needs neither grammars nor an index."""

    def __init__(
        self, files: Iterable[TaughtFile], tokenizer: Tokenizer, style: PromptFormat, *, longest: int = max(BUDGETS)
    ) -> None:
        self._tokenizer, self._style = tokenizer, style
        self._budgets = {tokens: share for tokens, share in BUDGETS.items() if tokens <= longest} or {longest: 1}
        files = list(files)
        self._all = _Groups(files)
        self._with_regions = _Groups([file for file in files if file.regions])

    def example(self, chance: random.Random) -> Example:
        """Draw an example. Raises ValueError where no file gives one."""
        for _ in range(_ATTEMPTS):
            if chance.random() < _WITH_CONTEXT and self._with_regions:
                file = self._with_regions.draw(chance)
                region = chance.choice(file.regions)
            else:
                file, region = self._all.draw(chance), None
            example = self._example(file, region, chance)
            if example is not None:
                return example
        raise ValueError("No middle can be cut out of the files that were packed; pack others")

    def _example(self, file: TaughtFile, region: Region | None, chance: random.Random) -> Example | None:
        """Cut a middle: anywhere without context, within a region with what was found for it."""
        start, end = (0, len(file.text)) if region is None else (region.start, region.end)
        part = file.text[start:end]
        outline = file.outline if region is None else _within(file.outline, start, end)
        snippets = () if region is None else tuple(ContextSnippet(path, text) for path, text in region.snippets)
        tries = TRIES if chance.random() < TOLD_ELSEWHERE else 1
        while part and (middle := choose_middle(part, outline, chance)) is not None:
            place = Middle(middle.start + start, middle.end + start, middle.kind)
            below = file.text[place.end :] if chance.random() >= WITHOUT_SUFFIX else ""
            text = file.text[: place.start] + below
            budget = LongSuffix(chance.choices(list(self._budgets), list(self._budgets.values()))[0])
            request = CompletionRequest(file.path, file.language, text, place.start, snippets)
            prompt = lay_out(request, self._tokenizer, self._style, budget)
            truth, tries = file.text[place.start : place.end], tries - 1
            if tries and not told_elsewhere(prompt, truth, self._tokenizer):
                continue
            return answered(prompt, truth, self._tokenizer, self._style, place.kind, file.language)
        return None


def _within(outline: Outline, start: int, end: int) -> Outline:
    """The parts of an outline that lie between two offsets, counted from the first."""

    def inside(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(first - start, last - start) for first, last in spans if start <= first and last <= end]

    blocks = [found for block in outline.blocks if (found := inside(block))]
    return Outline(inside(outline.statements), blocks)
