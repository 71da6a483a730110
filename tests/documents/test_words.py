"""`docs/words.md`: one meaning a word, in order, in short sentences; and twenty answers that are where it says."""

import ast
import re
from functools import cache

from tests.support.paths import ROOT

TEXT = (ROOT / "docs" / "words.md").read_text()
#: the last section is no glossary
GLOSSARY, QUESTIONS = TEXT.split("\n## Where is ...?\n")
#: what stands in a table of questions where there is nothing to name
NONE = "-"
SOURCES = ("golden", "hw", "tb", "sim", "tests/mutants")
FORBIDDEN = ("those that", "whoever", "is joined no more")
WORDS_MAX = 40


def groups():
    """{heading: its terms} of the glossary."""
    sections = re.split(r"^## ", GLOSSARY, flags=re.MULTILINE)[1:]
    return {section.split("\n")[0]: re.findall(r"^\| \*\*(.+?)\*\* \|", section, re.MULTILINE) for section in sections}


def cells(row):
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def questions():
    """(question, golden or program files, functions, hw files, functions) of each row."""
    rows = [cells(line) for line in QUESTIONS.splitlines() if line.startswith("| ")]
    assert rows[0] == ["question", "golden or program", "function", "hw", "function"]
    return [(row[0], *(named(cell) for cell in row[1:])) for row in rows[1:]]


def named(cell):
    """What a cell of a question names."""
    if cell == NONE:
        return []
    names = [name.strip() for name in cell.split(",")]
    assert all(re.fullmatch(r"`[\w./]+`", name) for name in names), cell
    return [name.strip("`") for name in names]


@cache
def defined(path):
    """The classes and functions of a file, methods as `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text(), path.name).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
            names.update(f"{node.name}.{method.name}" for method in methods)
    return names


def sentences():
    """The sentences of the page, each piece of code one word; a cell of a table ends one."""
    text = re.sub(r"`[^`]*`", "code", TEXT)
    for paragraph in re.split(r"\n\n|\n(?=\||#)", text):
        for part in paragraph.split("|"):
            yield from re.split(r"(?<=[.?!])\s+", " ".join(part.split()))


def test_there_are_twenty_questions_each_asked_once():
    asked = [question for question, *_ in questions()]
    assert len(asked) == 20
    assert len(set(asked)) == 20
    assert all(question.endswith("?") for question in asked)


def test_each_answer_is_a_function_that_stands_in_its_file():
    for question, program, in_program, hw, in_hw in questions():
        assert program or hw, question
        assert not any(path.startswith("hw/") for path in program), question
        assert all(path.startswith("hw/") for path in hw), question
        for paths, names in ((program, in_program), (hw, in_hw)):
            for path, name in zip(paths, names, strict=True):
                assert (ROOT / path).is_file(), f"{question} {path}"
                assert name in defined(ROOT / path), f"{question} {path} has no {name}"


def test_each_term_has_one_entry():
    terms = [term.casefold() for group in groups().values() for term in group]
    assert len(terms) == GLOSSARY.count("\n| **") > 0
    assert sorted(term for term in terms if terms.count(term) > 1) == []


def test_terms_are_alphabetical_inside_their_group():
    for heading, terms in groups().items():
        assert terms, heading
        assert terms == sorted(terms, key=str.casefold), heading


def test_what_an_entry_writes_as_code_stands_in_the_sources():
    text = "\n".join(path.read_text() for source in SOURCES for path in sorted((ROOT / source).rglob("*.py")))
    for code in re.findall(r"`([^`]+)`", GLOSSARY):
        if "/" in code:
            assert (ROOT / code).exists(), code
        elif not code.startswith("make "):
            missing = [word for word in re.findall(r"[\w-]+", code) if not re.search(rf"(?<!\w){word}(?!\w)", text)]
            assert missing == [], code


def test_no_sentence_is_long_and_none_has_a_forbidden_phrase():
    assert [sentence for sentence in sentences() if len(sentence.split()) > WORDS_MAX] == []
    plain = " ".join(TEXT.casefold().split())
    assert [phrase for phrase in FORBIDDEN if phrase in plain] == []
