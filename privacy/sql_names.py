"""Resolving the names of a query against a policy: exact in form NFC, or by ASCII case where unique."""

from string import ascii_lowercase, ascii_uppercase

from privacy.columns import Column, ColumnType, Role
from privacy.policy import Policy
from privacy.sql_scan import REFUSED_WORDS, Scan, Token, TokenKind
from privacy.sql_tree import FUNCTION_WORDS
from privacy.terms import join_policy

_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


class Names:
    """The columns and the listing of a policy, by the names that a query may use for them."""

    def __init__(self, policy: Policy, scan: Scan) -> None:
        self.policy = policy
        self.scan = scan
        join = join_policy(policy.terms)
        self.sides = () if join is None else tuple(side.name for side in join.sides)
        self.tables: dict[str, str] = {}
        """Of a join, which side each name before a column's point means."""

        self.columns = {column.name: column for column in policy.columns}
        unit = policy.unit.column
        if unit is not None and unit not in self.columns:
            self.columns[unit] = Column(unit, ColumnType.TEXT, Role.NONE)
        self._alike: dict[str, list[str]] = {}
        for name in self.columns:
            self._alike.setdefault(name.translate(_LOWER), []).append(name)

    def column(self, token: Token) -> Column | None:
        """Return the column that a token names; if there is none, record why."""
        column = self.find(token)
        if column is not None:
            return column
        alike = self._alike_to(token)
        message = f"{token.value!r} is no column of {self.policy.listing!r}"
        if alike:
            message = f"{token.value!r} is more than one column: write it in double quotes"
        self.scan.refuse("unknown-column", message, token.start, token.value)
        return None

    def find(self, token: Token) -> Column | None:
        """Return the column that a token names, or None."""
        if token.value in self.columns:
            return self.columns[token.value]
        alike = self._alike_to(token)
        return self.columns[alike[0]] if len(alike) == 1 else None

    def side(self, token: Token) -> str | None:
        """Return the table of a join that a token names in FROM; if there is none, record why."""
        return self._among(token, {name: name for name in self.sides}, "none of the listing's tables")

    def table(self, token: Token) -> str | None:
        """Return the side that the name before a column's point means; if there is none, record why."""
        return self._among(token, self.tables, "no table of this query, which has")

    def _among(self, token: Token, known: dict[str, str], what: str) -> str | None:
        value = token.value
        if value in known:
            return known[value]
        folded = value.translate(_LOWER) if token.kind is TokenKind.WORD else None
        alike = [name for name in known if name.translate(_LOWER) == folded]
        if len(alike) == 1:
            return known[alike[0]]
        self.scan.refuse("unknown-table", f"{value!r} is {what} {', '.join(map(repr, known))}", token.start)
        return None

    def _alike_to(self, token: Token) -> list[str]:
        return self._alike.get(token.value.translate(_LOWER), []) if token.kind is TokenKind.WORD else []

    def check_listing(self, token: Token) -> None:
        """Record a violation unless a token names the listing, or of a join one of its tables."""
        if self.sides:
            self.side(token)
            return
        value, name = token.value, self.policy.listing
        folded = token.kind is TokenKind.WORD and value.translate(_LOWER) == name.translate(_LOWER)
        if value != name and not folded:
            message = f"{value!r} is not the listing {name!r}"
            self.scan.refuse("unknown-listing", message, token.start)

    def check_function(self, token: Token) -> None:
        """Record a violation unless a token names an aggregate of the grammar."""
        if token.word not in FUNCTION_WORDS:
            known = ", ".join(sorted(FUNCTION_WORDS))
            self.scan.refuse("function", f"{token.value!r} is none of the functions {known}", token.start)

    def check_tokens(self, first: int = 0) -> None:
        """Check the names of a text that cannot be parsed, from a token on, by their neighbours alone."""
        tokens = self.scan.tokens
        for index, token in enumerate(tokens[first:], first):
            before = tokens[index - 1] if index else None
            after = tokens[index + 1].text if index + 1 < len(tokens) else ""
            is_alias = before is not None and (before.keyword == "AS" or _ends(before))
            if not token.is_name or _is_refused(token):
                continue
            if after == "(":
                self.check_function(token)
            elif before is not None and before.keyword in ("FROM", "JOIN"):
                self.check_listing(token)
            elif not is_alias and after != "." and (before is None or before.text != "."):
                self.column(token)


def _is_refused(token: Token) -> bool:
    return token.word in REFUSED_WORDS


def _ends(token: Token) -> bool:
    """Whether an expression may end with this token, so that a name after it is an alias."""
    return (token.is_name and not _is_refused(token)) or token.text == ")"
