"""HTTP edge of the exchange: routes, sign-in, problem+json."""
