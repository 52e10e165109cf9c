"""The linear scan of a query's text, before any parser sees it: size, characters, tokens, words, nesting.

sqlglot takes full-width letters, digits and quotes silently, overflows at 49 parentheses and needs time
that is exponential in nested types and in chains of JOIN. So the text is cut into tokens here, and only
tokens of the small vocabulary below are ever handed on.
"""

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from enum import Enum

from privacy.types import Violation

BYTES_MAX = 64 * 1024
DEPTH_MAX = 32
CALL_DEPTH_MAX = 2

KEYWORDS = frozenset(
    [
        *("SELECT", "DISTINCT", "FROM", "WHERE", "GROUP", "BY", "AS"),
        *("AND", "OR", "NOT", "IN", "BETWEEN", "IS", "NULL"),
        *("JOIN", "INNER", "ON"),
    ]
)
"""All the words of the grammar besides names and functions; those of a join are refused where the policy has none."""

JOIN_WORDS = frozenset(["JOIN", "INNER", "ON"])

_CLAUSES = {
    "cte": "WITH RECURSIVE",
    "join": "JOIN INNER OUTER CROSS NATURAL USING ON LATERAL",
    "set-operation": "UNION INTERSECT EXCEPT MINUS",
    "clause": "HAVING ORDER LIMIT OFFSET FETCH QUALIFY TABLESAMPLE PIVOT UNPIVOT INTO ROLLUP CUBE GROUPING",
    "window": "OVER WINDOW PARTITION",
    "expression": "CASE WHEN THEN ELSE END LIKE ILIKE RLIKE REGEXP SIMILAR GLOB EXISTS ANY SOME ALL CAST "
    "TRY_CAST INTERVAL ISNULL NOTNULL FILTER WITHIN COLLATE ESCAPE UNNEST VALUES TRUE FALSE DIV",
}
_TRAILING = frozenset(
    [
        "HAVING",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "FETCH",
        "QUALIFY",
        "WINDOW",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "MINUS",
    ]
)
"""Words that end what the grammar has: the tokens before them are still parsed, to report what is wrong there."""

REFUSED_WORDS = {word: rule for rule, words in _CLAUSES.items() for word in words.split()}

_REASONS = {
    "cte": "common table expressions are not offered",
    "join": "a query reads one listing: joins are not offered",
    "set-operation": "a query is one SELECT: set operations are not offered",
    "clause": "this clause is not offered",
    "window": "window functions are not offered",
    "expression": "this expression is not offered",
}

_FORMS = dict(zip("“”„「」『』‘’、。−–—×《》\u205f", '"""""""\'\',.---*<> ', strict=True))
"""Signs that stand for an ASCII one, besides those that Unicode's form NFKC maps."""

_WIDE_FORMS = {"≤": "<=", "≥": ">=", "≠": "<>"}
_SPACE = " \t\r\n"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_(),*=<>!;-." + _SPACE)
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_NAME = r"A-Za-z_\u0080-\U0010ffff"
_TOKEN = re.compile(
    r"(?P<string>'(?:[^']|'')*')"
    r'|(?P<quoted>"(?:[^"]|"")*")'
    rf"|(?P<word>[{_NAME}][{_NAME}0-9]*)"
    rf"|(?P<number>\.?[0-9](?:[eE][+-]|[{_NAME}0-9.])*)"
    r"|(?P<symbol>[=<>!]+|.)",
    re.DOTALL,
)
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_SYMBOLS = frozenset(["(", ")", ",", "*", "=", "<>", "!=", "<", "<=", ">", ">=", "-", ";", "."])


class TokenKind(Enum):
    """What a token is, by its spelling."""

    WORD = "word"
    QUOTED = "quoted"
    STRING = "string"
    NUMBER = "number"
    SYMBOL = "symbol"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text, from `start` on.

    Attributes:
        text: as written.
    """

    kind: TokenKind
    start: int
    text: str

    @property
    def keyword(self) -> str | None:
        """The word in upper case, if it is one of the grammar's, else None."""
        word = self.word
        return word if word in KEYWORDS else None

    @property
    def word(self) -> str:
        """The word in upper case, or nothing: only of ASCII, as `ı` would become an I."""
        return self.text.upper() if self.kind is TokenKind.WORD and self.text.isascii() else ""

    @property
    def value(self) -> str:
        """The text inside the quotes, or the text; in Unicode form NFC."""
        text = self.text
        if self.kind in (TokenKind.STRING, TokenKind.QUOTED):
            text = text[1:-1].replace(text[0] * 2, text[0])
        return unicodedata.normalize("NFC", text)

    @property
    def is_name(self) -> bool:
        """Whether the token can name a column, the listing or an alias."""
        return self.kind is TokenKind.QUOTED or (self.kind is TokenKind.WORD and self.keyword is None)


class Scan:
    """A query's text, its tokens, and what is wrong with it before any grammar.

    Args:
        sql: the text.
        joins: whether the listing is of two tables that one JOIN brings together.

    Attributes:
        violations: of size, characters, tokens, words and nesting.
        tokens: those of the first statement; empty if the text is too long.
        parsable: whether the tokens before `end` are of the grammar's vocabulary and nested within bounds.
        end: the first token of a clause that follows what the grammar has, such as ORDER BY; else their number.
    """

    def __init__(self, sql: str, *, joins: bool = False) -> None:
        self._joins = joins
        self.violations: list[Violation] = []
        self.tokens: list[Token] = []
        self.parsable = False
        self.end = 0
        self._line_starts = [0]
        size = len(sql.encode("utf-8", "surrogatepass"))
        if size > BYTES_MAX:
            self.refuse("size", f"a query may have {BYTES_MAX} bytes, this has {size}", None)
            return
        self._line_starts += [match.end() for match in re.finditer(r"\r\n|\r|\n", sql)]
        clean = self._check_characters(sql)
        self.parsable = True
        self._cut(clean)
        self._check_words()
        self._check_nesting()

    def refuse(self, rule: str, message: str, start: int | None, column: str | None = None) -> None:
        """Record a violation at an offset of the text."""
        line, position = (None, None) if start is None else self.place(start)
        self.violations.append(Violation(rule, message, column, line, position))

    def place(self, start: int) -> tuple[int, int]:
        """Return the line and the character in it, both from 1, of an offset."""
        line = bisect_right(self._line_starts, start)
        return line, start - self._line_starts[line - 1] + 1

    def _check_characters(self, sql: str) -> str:
        """Refuse characters, and return a text of the same length in which they are replaced."""
        out: list[str] = []
        index = 0
        while index < len(sql):
            character = sql[index]
            if character in "'\"":
                end = _closing(sql, index)
                out.append(self._check_literal(sql[index:end], index))
            elif sql.startswith(("--", "/*"), index):
                self.refuse("comment", "comments are not taken", index)
                end = _comment_end(sql, index)
                out.append(" " * (end - index))
            else:
                end = index + 1
                out.append(character if character in _PLAIN else self._check_character(character, index))
            index = end
        return "".join(out)

    def _check_literal(self, text: str, start: int) -> str:
        for offset, character in enumerate(text):
            if not character.isprintable() and unicodedata.category(character) in _HIDDEN:
                self._refuse_hidden(character, start + offset)
        return text

    def _check_character(self, character: str, start: int) -> str:
        """Refuse a character that is not plain, unless it is a letter of a name; return its replacement."""
        category = unicodedata.category(character)
        form = _FORMS.get(character) or _WIDE_FORMS.get(character) or unicodedata.normalize("NFKC", character)
        if category in _HIDDEN:
            self._refuse_hidden(character, start)
            return " "
        if character.isascii():
            self.refuse("character", f"{character!r} has no meaning in a query", start)
            return " "
        if form.isascii():
            name = f"U+{ord(character):04X} {unicodedata.name(character, '')}"
            advice = 'around a text write "\'", around a name write' if form == '"' else "write"
            self.refuse("full-width", f"{character!r} ({name}) is not taken: {advice} {form!r}", start)
            return form if len(form) == 1 else " "
        if category[0] in "LM":
            return character
        self.refuse("character", f"{character!r} (U+{ord(character):04X}) has no meaning in a query", start)
        return " "

    def _refuse_hidden(self, character: str, start: int) -> None:
        self.refuse("control-character", f"U+{ord(character):04X} is a control or invisible character", start)

    def _cut(self, clean: str) -> None:
        """Cut the text into tokens; stop at the end of the first statement."""
        for match in _TOKEN.finditer(clean):
            text, start = match.group(), match.start()
            if text in _SPACE:
                continue
            kind = TokenKind(match.lastgroup)
            if text in ("'", '"'):
                self._unparsable("syntax", f"the text that starts with {text} has no end", start)
                break
            if self.tokens and self.tokens[-1].text == ";":
                self._refuse_second(start)
                break
            self._check_token(kind, text, start)
            self.tokens.append(Token(kind, start, text))
        if self.tokens and self.tokens[-1].text == ";":
            self.tokens.pop()

    def _refuse_second(self, start: int) -> None:
        self.refuse("statements", "a query is one statement: nothing may follow the semicolon", start)

    def _check_token(self, kind: TokenKind, text: str, start: int) -> None:
        if kind is TokenKind.SYMBOL and text not in _SYMBOLS:
            self._unparsable("operator", f"{text!r} is no operator of a query", start)
        elif kind is TokenKind.NUMBER and not _NUMBER.fullmatch(text):
            self._unparsable("literal", f"{text[:40]!r} is no number", start)
        elif kind is TokenKind.QUOTED and text == '""':
            self._unparsable("syntax", "a quoted name may not be empty", start)

    def _check_words(self) -> None:
        """Refuse words that belong to other statements, clauses and expressions."""
        first = self.tokens[0] if self.tokens else None
        if first is None or (first.keyword != "SELECT" and first.word not in REFUSED_WORDS):
            self._unparsable("statement", "a query is one SELECT", first.start if first else 0)
        self.end = len(self.tokens)
        selects = joins = depth = 0
        for index, token in enumerate(self.tokens):
            depth += (token.text == "(") - (token.text == ")")
            if token.kind is not TokenKind.WORD:
                continue
            word = token.word
            rule = None if self._joins and word in JOIN_WORDS else REFUSED_WORDS.get(word)
            joins += word == "JOIN"
            if self._joins and word == "JOIN" and joins > 1:
                self._unparsable("join", "a query joins two tables once", token.start)
            if rule is not None:
                reason = f"{_REASONS[rule]}; a column of that name goes in double quotes"
                self.refuse(rule, f"{word}: {reason}", token.start)
                if word in _TRAILING and depth == 0:
                    self.end = min(self.end, index)
                self.parsable &= index >= self.end
            selects += word == "SELECT"
            if word == "SELECT" and selects > 1:
                self.refuse("subquery", "a query has one SELECT: subqueries are not offered", token.start)
                self.parsable &= index >= self.end

    def _check_nesting(self) -> None:
        """Bound what a recursive parser would nest: parentheses, NOT, signs, and calls within calls."""
        stack: list[tuple[int, bool]] = []
        prefixes = calls = 0
        previous: Token | None = None
        for token in self.tokens:
            if token.text == "(":
                call = previous is not None and previous.is_name
                stack.append((prefixes, call))
                prefixes, calls = 0, calls + call
            elif token.text == ")" and stack:
                prefixes, call = stack.pop()
                calls -= call
            elif token.keyword == "NOT" or token.text == "-":
                prefixes += 1
            elif token.keyword in ("AND", "OR") or token.text == ",":
                prefixes = 0
            if len(stack) + prefixes + sum(outer for outer, _ in stack) > DEPTH_MAX:
                self._unparsable("depth", f"a query may be nested {DEPTH_MAX} deep", token.start)
                return
            if calls > CALL_DEPTH_MAX:
                self._unparsable("depth", "a function's arguments may not be nested calls", token.start)
                return
            previous = token

    def _unparsable(self, rule: str, message: str, start: int) -> None:
        self.refuse(rule, message, start)
        self.parsable = False


def _closing(sql: str, start: int) -> int:
    """Return the end of the quoted text that starts here (a doubled quote is inside it), or of all text."""
    quote = sql[start]
    index = start + 1
    while True:
        index = sql.find(quote, index)
        if index < 0:
            return len(sql)
        if sql[index + 1 : index + 2] != quote:
            return index + 1
        index += 2


def _comment_end(sql: str, start: int) -> int:
    mark = "\n" if sql[start] == "-" else "*/"
    end = sql.find(mark, start + 2)
    return len(sql) if end < 0 else end + len(mark) - (mark == "\n")
