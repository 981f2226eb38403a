"""A truth table as one HTML page that needs nothing else: colours and words, and who decides in each cell's tooltip."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from tortie.insight.matrix import Answer, Matrix, question_text

_STYLE = """
body{font:14px/1.4 system-ui,sans-serif;margin:2em;color:#222;background:#fff}
table{border-collapse:collapse;margin:1em 0 2em}
th,td{border:1px solid #ccc;padding:.2em .5em;text-align:center;font-weight:normal}
th{background:#f4f4f4;text-align:left;white-space:nowrap}
thead th{writing-mode:vertical-rl;transform:rotate(180deg);vertical-align:bottom}
td.allow{background:#d5f0d5;color:#0a4d0a}td.deny{background:#f9d6d5;color:#7d1010}td.none{color:#999}
caption{text-align:left;font-weight:bold;font-size:1.1em}
"""


def matrix_html(table: Matrix, name: Callable[[Sequence[str]], str]) -> str:
    """The page. Ends of one class share a row or a column; `name` puts a group of ends into words."""
    return "\n".join(_page(table, name))


def _page(table: Matrix, name: Callable[[Sequence[str]], str]) -> Iterator[str]:
    rows, columns = _grouped(table.source_classes), _grouped(table.destination_classes)
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Policy matrix</title>'
    yield f"<style>{_STYLE}</style></head><body>"
    yield "<h1>Who reaches whom</h1>"
    yield "<p>Rows send, columns receive. Pods that no policy tells apart share a row. Point at a cell to see who decides.</p>"
    for number, question in enumerate(table.questions):
        yield f"<table><caption>{escape(question_text(question))}</caption><thead><tr><th></th>"
        yield from (_heading(name, [table.destinations[index].text for index in column]) for column in columns)
        yield "</tr></thead><tbody>"
        for row in rows:
            yield "<tr>" + _heading(name, [table.sources[index].text for index in row])
            yield "".join(_cell(_answer(table, row, column, number)) for column in columns) + "</tr>"
        yield "</tbody></table>"
    yield "</body></html>"


def _heading(name: Callable[[Sequence[str]], str], texts: Sequence[str]) -> str:
    return f'<th title="{escape(", ".join(texts[:40]))}">{escape(name(texts))}</th>'


def _cell(answer: Answer | None) -> str:
    if answer is None:
        return '<td class="none" title="not asked">&middot;</td>'
    verdict = "allow" if answer.allowed else "deny"
    return f'<td class="{verdict}" title="{escape(answer.reason)}">{verdict}</td>'


def _answer(table: Matrix, row: Sequence[int], column: Sequence[int], number: int) -> Answer | None:
    for source in row[:2]:
        for destination in column[:2]:
            answer = table.answer(source, destination, number)
            if answer is not None:
                return answer
    return None


def _grouped(classes: Sequence[int]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for index, number in enumerate(classes):
        groups.setdefault(number, []).append(index)
    return list(groups.values())
