"""The log's heads and the issuers on the chain: contracts, deployment, and proofs for offline verifiers."""
