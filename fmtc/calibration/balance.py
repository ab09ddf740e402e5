"""Shares of several outputs in what an error is worth, so that the worst one is served.

docs/method.md, "Sensitivities". With one step the weighted mean of all outputs' errors is what is
kept low, but an output that many coded tensors lead to collects more of it than others. The error
of an output falls nearly as its share grows: shares in proportion to share x error come near equal
errors, and near nothing for an output that is good anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .metrics import Metrics

Shares = Mapping[str, float]

ROUNDS = 2
# The worst output is served well enough where its share would grow by less than this: 1 dB.
ENOUGH = 1.25
LEAST_SHARE = 1e-3  # of an equal one


def balanced(
    shares: Shares,
    metrics_of: Callable[[Shares], Metrics],
    errors_of: Callable[[Metrics], Mapping[str, float]],
) -> Metrics:
    """The metrics with shares, beginning with these, for which the outputs are about as good.

    metrics_of: measures them; errors_of: calibrates with them and gives the error of each output
    relative to its signal. Each is called a few times, the second one not for a single output.
    """
    metrics = metrics_of(shares)
    for _ in range(ROUNDS if len(shares) > 1 else 0):
        errors = errors_of(metrics)
        wanted = reweighted(shares, errors)
        worst = max(shares, key=lambda name: errors.get(name, 0.0))
        if wanted[worst] <= ENOUGH * shares[worst]:
            break
        shares = wanted
        del metrics  # two of them may be more than there is memory for
        metrics = metrics_of(shares)
    return metrics


def reweighted(shares: Shares, errors: Mapping[str, float]) -> dict[str, float]:
    """Shares in proportion to share x error, together 1."""
    products = {name: share * errors.get(name, 0.0) for name, share in shares.items()}
    least = LEAST_SHARE * sum(products.values()) / len(products)
    raised = {name: max(product, least) for name, product in products.items()}
    total = sum(raised.values())
    return {name: value / total for name, value in raised.items()} if total > 0 else dict(shares)
