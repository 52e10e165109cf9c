"""E-licences: identifiers, keys, SD-JWT credentials, and what is logged, published and verified of them (docs/licence.md)."""
