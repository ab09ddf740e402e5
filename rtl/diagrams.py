"""The block diagrams of rtl/README.md: python rtl/diagrams.py writes rtl/diagrams/*.svg."""

from __future__ import annotations

from html import escape
from pathlib import Path

OUT = Path(__file__).resolve().parent / "diagrams"
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 132, 46, 44, 34, 16

# Blocks by name: column, row, lines of text; memories have another colour. Arrows: from, to, label.
Block = tuple[float, float, str, bool]
DIAGRAMS: dict[str, tuple[dict[str, Block], list[tuple[str, str, str]]]] = {
    "huffman_decoder": (
        {
            "words": (0, 0, "words", False),
            "unpacker": (1, 0, "unpacker\n48 bits", False),
            "longer": (2, 0, "15 comparators\nlength", False),
            "place": (3, 0, "offset + code", False),
            "levels": (4, 0, "levels", True),
            "fifo": (5, 0, "fifo of 8", False),
            "runs": (0, 1, "runs", False),
            "limits": (2, 1, "limits of a table", True),
            "offsets": (3, 1, "offsets", True),
        },
        [
            ("words", "unpacker", ""), ("unpacker", "longer", "15"), ("longer", "place", ""),
            ("place", "levels", ""), ("levels", "fifo", ""), ("runs", "limits", "table"),
            ("limits", "longer", ""), ("offsets", "place", ""),
        ],
    ),
    "rans_decoder": (
        {
            "front": (0, 0, "front: states,\ndigits", False),
            "states": (1, 0, "states\n64 × 32", True),
            "symbols": (2, 0, "symbol of slot\n4096 × 8", True),
            "entries": (3, 0, "frequency, start\n256 × 25", True),
            "product": (4, 0, "f · high\n+ slot − start", False),
            "digit": (5, 0, "digit?\n9th stage", False),
            "back": (0, 1.3, "back: escaped\nlevels", False),
            "fifo": (5, 1.3, "fifo of 16", False),
        },
        [
            ("front", "states", ""), ("states", "symbols", ""), ("symbols", "entries", ""),
            ("entries", "product", ""), ("product", "digit", ""), ("digit", "fifo", "level"),
            ("back", "fifo", "escaped level"),
        ],
    ),
    "rans_encoder": (
        {
            "levels": (0, 0, "levels, runs", False),
            "chunk": (1, 0, "two chunks\n4096 × 18 each", True),
            "entries": (2, 0, "entries\n256 × 62", True),
            "states": (3, 0, "states\n64 × 32", True),
            "divide": (4, 0, "x · reciprocal\nquotient", False),
            "next": (5, 0, "x + q(M − f)\n+ start", False),
            "front": (3, 1.3, "front: digits,\nstates, backwards", False),
            "back": (2, 1.3, "back:\nescaped levels", False),
        },
        [
            ("levels", "chunk", ""), ("chunk", "entries", "last first"), ("entries", "states", ""),
            ("states", "divide", ""), ("divide", "next", ""), ("states", "front", ""),
            ("entries", "back", ""),
        ],
    ),
    "ebpc": (
        {
            "levels": (0, 0, "levels", False),
            "marks": (1, 0, "marks", False),
            "packer": (4, 0, "packer", False),
            "words": (5, 0, "words", False),
            "octuple": (1, 1.2, "octuple:\n7 differences", False),
            "planes": (2, 1.2, "2 planes a cycle", False),
            "memory": (3, 1.2, "2048 × 32", True),
            "string": (0, 2.6, "words", False),
            "unpacker": (1, 2.6, "unpacker", False),
            "front": (2, 2.6, "marks, then\n2 planes a cycle", False),
            "kept": (3, 2.6, "marks 4096 × 5", True),
            "waiting": (3, 3.7, "words 1024 × 12", True),
            "merge": (4, 2.6, "a level a cycle", False),
        },
        [
            ("levels", "marks", ""), ("marks", "packer", "first"), ("packer", "words", ""),
            ("levels", "octuple", "not 0"), ("octuple", "planes", ""), ("planes", "memory", ""),
            ("memory", "packer", "then"), ("string", "unpacker", ""), ("unpacker", "front", "16"),
            ("front", "kept", ""), ("front", "waiting", ""), ("kept", "merge", ""),
            ("waiting", "merge", ""),
        ],
    ),
    "layer": (
        {
            "pixels": (0, 0, "pixels", False),
            "tile": (1, 0, "two tiles\nof pixels", True),
            "dot": (2, 0, "LANES products\nsum, offset", False),
            "quantizer": (3, 0, "quantiser", False),
            "coder": (4, 0, "Huffman encoder", False),
            "words": (5, 0, "words", False),
            "matrix": (2, 1, "matrix, offsets", True),
            "thresholds": (3, 1, "thresholds", True),
            "codes": (4, 1, "codes, table of\neach component", True),
            "string": (0, 2.2, "words", False),
            "decoder": (1, 2.2, "Huffman decoder", False),
            "back": (2, 2.2, "two tiles\nof levels", True),
            "inverse": (3, 2.2, "LANES products\nsum, offset", False),
            "limit": (4, 2.2, "limits", False),
            "values": (5, 2.2, "values", False),
        },
        [
            ("pixels", "tile", ""), ("tile", "dot", ""), ("dot", "quantizer", ""),
            ("quantizer", "coder", ""), ("coder", "words", ""), ("matrix", "dot", ""),
            ("thresholds", "quantizer", ""), ("codes", "coder", ""), ("string", "decoder", ""),
            ("decoder", "back", ""), ("back", "inverse", ""), ("inverse", "limit", ""),
            ("limit", "values", ""),
        ],
    ),
}  # fmt: skip


def corner(block: Block) -> tuple[float, float]:
    return MARGIN + block[0] * (WIDTH + GAP_X), MARGIN + block[1] * (HEIGHT + GAP_Y)


def arrow(start: Block, end: Block, label: str) -> str:
    """From a side of one block to one of another."""
    (x1, y1), (x2, y2) = corner(start), corner(end)
    if x1 == x2:
        down = y2 > y1
        ends = x1 + WIDTH / 2, y1 + HEIGHT * down, x2 + WIDTH / 2, y2 + HEIGHT * (not down)
    else:
        ends = x1 + WIDTH, y1 + HEIGHT / 2, x2, y2 + HEIGHT / 2
    line = '<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="#444" marker-end="url(#a)"/>'.format(
        *ends
    )
    if label:
        x, y = (ends[0] + ends[2]) / 2, (ends[1] + ends[3]) / 2 - 4
        line += f'<text x="{x}" y="{y}" font-size="10" text-anchor="middle">{escape(label)}</text>'
    return line


def drawn(blocks: dict[str, Block], arrows: list[tuple[str, str, str]]) -> str:
    corners = [corner(block) for block in blocks.values()]
    width = max(x for x, _ in corners) + WIDTH + MARGIN
    height = max(y for _, y in corners) + HEIGHT + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif">',
        '<defs><marker id="a" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#444"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for x, y, text, memory in ((*corner(b), b[2], b[3]) for b in blocks.values()):
        fill = "#dfe8f5" if memory else "#f4f4f0"
        parts.append(
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4" fill="{fill}" '
            'stroke="#444"/>'
        )
        lines = text.split("\n")
        for i, line in enumerate(lines):
            below = y + HEIGHT / 2 + 4 + 15 * (i - (len(lines) - 1) / 2)
            parts.append(
                f'<text x="{x + WIDTH / 2}" y="{below}" font-size="12" text-anchor="middle">'
                f"{escape(line)}</text>"
            )
    parts += [arrow(blocks[a], blocks[b], label) for a, b, label in arrows]
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    OUT.mkdir(exist_ok=True)
    for name, (blocks, arrows) in DIAGRAMS.items():
        (OUT / f"{name}.svg").write_text(drawn(blocks, arrows))


if __name__ == "__main__":
    main()
