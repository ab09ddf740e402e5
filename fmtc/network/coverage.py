"""What share of the values that a network writes has coding points.

docs/method.md, "What is written".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import fx

from .groups import Group, Search
from .written import scores, values


@dataclass
class Coverage:
    """Values of one image that are written, and those of them that have a coding point, by kind."""

    written: dict[str, int] = field(default_factory=dict)
    coded: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Of all values written, those with a coding point; 1 where nothing is written."""
        written = sum(self.written.values())
        return sum(self.coded.values()) / written if written else 1.0

    def to_dict(self) -> dict[str, Any]:
        """``values`` and ``coded`` of an image, and ``kinds``, the same of each kind."""
        kinds = {
            kind: {"values": count, "coded": self.coded.get(kind, 0)}
            for kind, count in self.written.items()
        }
        total = {"values": sum(self.written.values()), "coded": sum(self.coded.values())}
        return {**total, "kinds": kinds}

    def __str__(self) -> str:
        left = {k: n - self.coded.get(k, 0) for k, n in self.written.items()}
        total = sum(self.written.values())
        kinds = [f"{kind} {count / total:.1%}" for kind, count in left.items() if count]
        text = f"these are {self.share:.1%} of the {total:,} values that an image makes it write"
        return f"{text} (left out: {', '.join(kinds)})" if kinds else text

    def add(self, network: fx.GraphModule, groups: list[Group]) -> None:
        """Count a captured graph, whose groups these are."""
        makers = {group.maker for group in groups if not group.uncoded}
        performed = {add for group in groups for add in group.adds}
        search = Search(network)
        for node in network.graph.nodes:
            kind = search.kind(node)
            if kind is None or node in performed:
                continue
            count = values(node.meta["shape"])
            self._count(self.written, kind, count)
            if node in makers:
                self._count(self.coded, kind, count)
            if scores(node):
                self._count(self.written, "attention", scores(node))

    @staticmethod
    def _count(counts: dict[str, int], kind: str, count: int) -> None:
        counts[kind] = counts.get(kind, 0) + count
