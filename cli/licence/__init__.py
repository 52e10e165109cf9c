"""`shuyao licence`: departments, holders and verifiers of e-licences, and the city's service."""
