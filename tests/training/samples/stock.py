"""What a shop has on its shelves. Text that the tests of training learn from: they need some that never changes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass


class OutOfStockError(Exception):
    """Fewer pieces are left than were asked for."""


@dataclass(frozen=True)
class Article:
    """One kind of thing that is sold."""

    number: str
    title: str
    price: int
    weight: float = 0.0

    def price_with_tax(self, rate: float) -> int:
        """Return the price in cents, taxes included."""
        return round(self.price * (1 + rate))


class Shelf:
    """Counts the pieces of each article."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.pieces: dict[str, int] = defaultdict(int)
        self.articles: dict[str, Article] = {}

    def put(self, article: Article, count: int) -> None:
        """Add pieces of an article."""
        if count <= 0:
            raise ValueError("count must be positive")
        if self.total() + count > self.capacity:
            raise OverflowError("the shelf is full")
        self.articles[article.number] = article
        self.pieces[article.number] += count

    def take(self, number: str, count: int) -> Article:
        """Remove pieces of an article."""
        left = self.pieces[number]
        if left < count:
            raise OutOfStockError(f"only {left} pieces of {number} are left")
        self.pieces[number] = left - count
        return self.articles[number]

    def total(self) -> int:
        """Count all pieces."""
        return sum(self.pieces.values())

    def worth(self) -> int:
        """Sum up what all pieces cost together."""
        worth = 0
        for number, count in self.pieces.items():
            article = self.articles[number]
            worth += article.price * count
        return worth

    def heaviest(self) -> Article | None:
        """Find the article that weighs most."""
        if not self.articles:
            return None
        return max(self.articles.values(), key=lambda article: article.weight)
