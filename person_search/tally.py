"""What a reader of a user's files took, what it left out, and why."""

from collections import Counter

from .errors import printable


class Tally:
    """Counts that every reader of a user's files ends with.

        >>> tally = Tally()
        >>> tally.take("pictures", 12)
        >>> tally.leave("pictures", "suffix .heic", "IMG_5.heic")
        >>> tally.leave("boxes", "category car")
        >>> print(tally)
                taken  left out  why
        pictures     12         1  suffix .heic (IMG_5.heic)
        boxes         0         1  category car

    Kinds and reasons are printed in the order in which they came.
    """

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._left: dict[tuple[str, str], tuple[int, str]] = {}

    def take(self, kind: str, number: int = 1) -> None:
        """Counts what was taken; ``kind`` is a plural noun, "boxes"."""
        self._taken[kind] += number

    def leave(self, kind: str, why: str, example: str = "", number: int = 1) -> None:
        """Counts what was left out; of every reason the first example is kept."""
        self._taken[kind] += 0
        before, first = self._left.get((kind, why), (0, ""))
        self._left[kind, why] = (before + number, first or example)

    def taken(self, kind: str) -> int:
        """How many of a kind were taken."""
        return self._taken[kind]

    def left_out(self, kind: str | None = None) -> int:
        """How many of a kind, or of all kinds, were left out."""
        return sum(n for (of, _), (n, _) in self._left.items() if kind in (None, of))

    def add(self, other: "Tally") -> None:
        """Adds the counts of another one."""
        self._taken.update(other._taken)
        for (kind, why), (number, example) in other._left.items():
            self.leave(kind, why, example, number)

    def __str__(self) -> str:
        """A table with a line for each kind and reason."""
        rows: list[tuple[str, str, int, str]] = []
        for kind, taken in self._taken.items():
            said = (kind, str(taken))
            reasons = [(why, *found) for (of, why), found in self._left.items() if of == kind]
            for why, number, example in reasons or [("", 0, "")]:
                shown = printable(f"{why} ({example})" if example else why)
                rows.append((*said, number, shown))
                said = ("", "")  # once
        width = max((len(row[0]) for row in rows), default=0)
        lines = [f"{'':<{width}}{'taken':>9}{'left out':>10}  why"]
        lines += [f"{kind:<{width}}{taken:>9}{n:>10}  {why}" for kind, taken, n, why in rows]
        return "\n".join(line.rstrip() for line in lines)
