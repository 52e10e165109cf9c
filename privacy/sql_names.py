"""Resolving the names of a query against a policy: exact in form NFC, or by ASCII case where unique."""

from string import ascii_lowercase, ascii_uppercase

from privacy.columns import Column, ColumnType, Role
from privacy.policy import Policy
from privacy.sql_scan import REFUSED_WORDS, Scan, Token, TokenKind
from privacy.sql_tree import FUNCTION_WORDS

_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


class Names:
    """The columns and the listing of a policy, by the names that a query may use for them."""

    def __init__(self, policy: Policy, scan: Scan) -> None:
        self.policy = policy
        self.scan = scan
        self.columns = {column.name: column for column in policy.columns}
        unit = policy.unit.column
        if unit is not None and unit not in self.columns:
            self.columns[unit] = Column(unit, ColumnType.TEXT, Role.NONE)
        self._alike: dict[str, list[str]] = {}
        for name in self.columns:
            self._alike.setdefault(name.translate(_LOWER), []).append(name)

    def column(self, token: Token) -> Column | None:
        """Return the column that a token names; if there is none, record why."""
        value = token.value
        if value in self.columns:
            return self.columns[value]
        alike = self._alike.get(value.translate(_LOWER), []) if token.kind is TokenKind.WORD else []
        if len(alike) == 1:
            return self.columns[alike[0]]
        message = f"{token.value!r} is no column of {self.policy.listing!r}"
        if alike:
            message = f"{token.value!r} is more than one column: write it in double quotes"
        self.scan.refuse("unknown-column", message, token.start, token.value)
        return None

    def check_listing(self, token: Token) -> None:
        """Record a violation unless a token names the listing."""
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
            elif before is not None and before.keyword == "FROM":
                self.check_listing(token)
            elif not is_alias and after != "." and (before is None or before.text != "."):
                self.column(token)


def _is_refused(token: Token) -> bool:
    return token.word in REFUSED_WORDS


def _ends(token: Token) -> bool:
    """Whether an expression may end with this token, so that a name after it is an alias."""
    return (token.is_name and not _is_refused(token)) or token.text == ")"
