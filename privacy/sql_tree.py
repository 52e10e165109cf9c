"""The syntax tree of a scanned query, each node traced back to the token it came from.

sqlglot sees the grammar's words and signs, and placeholders for all else: "n12" is the name that token 12
spells, 's13' a text, 14 a number. So nothing that a buyer writes can act as a keyword, a type, an escape or
a comment.
"""

from collections import Counter

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from privacy.sql_scan import Scan, Token, TokenKind

SEVERAL_WORDS = frozenset(
    [
        "HISTOGRAM",
        "QUANTILE",
        "COVAR",
        "COVAR_SAMP",
        "COVAR_POP",
        "CORR",
        "LINREG",
        "CHI2",
        "SCORE",
        "LOGREG_STEP",
    ]
)
"""Functions of several arguments. sqlglot sees them under names of our own, so that it has no meaning for them."""

FUNCTION_WORDS = SEVERAL_WORDS | frozenset(
    [
        *("COUNT", "SUM", "AVG"),
        *("VAR", "VARIANCE", "VAR_SAMP", "VAR_POP", "STDDEV", "STDDEV_SAMP", "STDDEV_POP"),
    ]
)


class SqlTree:
    """The tree of a scan's tokens.

    Attributes:
        scan: where violations are recorded.
        tokens: those that are parsed.
        root: the parsed statement; None if there is none, which is then a violation.
    """

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.tokens = scan.tokens[: scan.end]
        self._numbers = {token.start: number for number, token in enumerate(self.tokens)}
        self._tokens: dict[int, Token] = {}
        self._accepted: Counter[str] = Counter()
        self.root = self._parse(self._emit())

    def token(self, node: exp.Expr) -> Token | None:
        """Return the token that a node itself came from, if it has one."""
        start = (node._meta or {}).get("start")
        return None if start is None else self._tokens.get(start)

    def first_token(self, node: exp.Expr) -> Token | None:
        """Return the first token of a node and all below it."""
        tokens = [token for token in map(self.token, node.walk()) if token is not None]
        return min(tokens, key=lambda token: token.start, default=None)

    def before(self, token: Token) -> Token | None:
        """Return the token before one."""
        number = self._numbers[token.start]
        return self.tokens[number - 1] if number else None

    def refuse(self, rule: str, message: str, node: exp.Expr, column: str | None = None) -> None:
        """Record a violation at a node."""
        token = self.first_token(node)
        self.scan.refuse(rule, message, None if token is None else token.start, column)

    def accept(self, *parts: str) -> None:
        """Count tokens as accounted for: keywords and signs by their text, others by their kind."""
        self._accepted.update(parts)

    def require_accounted(self) -> None:
        """Record a violation if sqlglot dropped a token, or read one as something else, without a word.

        Redundant parentheses are dropped on purpose.
        """
        found = Counter(_part(token) for token in self.tokens if token.text not in ("(", ")"))
        for part in sorted(set(found) | set(self._accepted)):
            if found[part] == self._accepted[part]:
                continue
            places = [token.start for token in self.tokens if _part(token) == part]
            message = f"{found[part]} of {part!r} in the text, {self._accepted[part]} of them with a meaning"
            self.scan.refuse("syntax", message, places[-1] if places else None)

    def _emit(self) -> str:
        pieces: list[str] = []
        offset = 0
        for index, token in enumerate(self.tokens):
            piece = _placeholder(self.tokens, index)
            self._tokens[offset] = token
            pieces.append(piece)
            offset += len(piece) + 1
        return " ".join(pieces)

    def _parse(self, text: str) -> exp.Expr | None:
        try:
            statements = sqlglot.parse(text)
        except ParseError as err:
            where = err.errors[0] if err.errors else {}
            start = int(where.get("col") or 1) - len(str(where.get("highlight") or " "))
            tokens = [token for offset, token in self._tokens.items() if offset <= start]
            word = f"near {tokens[-1].text[:40]!r}" if tokens else "here"
            self.scan.refuse("syntax", f"the query has no meaning {word}", tokens[-1].start if tokens else 0)
            return None
        except (SqlglotError, RecursionError) as err:
            self.scan.refuse("syntax", f"the query cannot be parsed: {type(err).__name__}", 0)
            return None
        if len(statements) != 1 or statements[0] is None:
            self.scan.refuse("statement", "a query is one SELECT", 0)
            return None
        return statements[0]


def _placeholder(tokens: list[Token], index: int) -> str:
    token = tokens[index]
    if token.keyword is not None:
        return token.keyword
    if token.kind is TokenKind.SYMBOL:
        return token.text
    if token.kind is TokenKind.NUMBER:
        return str(index)
    if token.kind is TokenKind.STRING:
        return f"'s{index}'"
    called = index + 1 < len(tokens) and tokens[index + 1].text == "("
    if called and token.word in FUNCTION_WORDS:
        return f"SHUYAO_{token.word}" if token.word in SEVERAL_WORDS else token.word
    return f'"n{index}"'


def _part(token: Token) -> str:
    if token.keyword is not None:
        return token.keyword
    if token.kind is TokenKind.SYMBOL:
        return "<>" if token.text == "!=" else token.text
    return "name" if token.is_name else token.kind.value
