"""What the customers of a shop ask for. Text that the tests of training learn from, as `stock.py` beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.training.samples.stock import Article, OutOfStockError, Shelf


@dataclass
class Order:
    """Articles and how many of each."""

    customer: str
    lines: list[tuple[Article, int]] = field(default_factory=list)

    def add(self, article: Article, count: int) -> None:
        """Ask for one more article."""
        if count <= 0:
            raise ValueError("count must be positive")
        self.lines.append((article, count))

    def sum(self, rate: float) -> int:
        """Return what the order costs in cents, taxes included."""
        total = 0
        for article, count in self.lines:
            total += article.price_with_tax(rate) * count
        return total

    def weight(self) -> float:
        """Return what the order weighs."""
        return sum(article.weight * count for article, count in self.lines)


class Counter:
    """Hands out what is ordered."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.waiting: list[Order] = []

    def serve(self, order: Order) -> bool:
        """Take everything from the shelf, or nothing."""
        taken: list[tuple[Article, int]] = []
        for article, count in order.lines:
            try:
                self.shelf.take(article.number, count)
            except OutOfStockError:
                for earlier, pieces in taken:
                    self.shelf.put(earlier, pieces)
                self.waiting.append(order)
                return False
            taken.append((article, count))
        return True

    def serve_waiting(self) -> int:
        """Try again all orders that could not be served, and count those that now could."""
        served = 0
        waiting, self.waiting = self.waiting, []
        for order in waiting:
            if self.serve(order):
                served += 1
        return served
