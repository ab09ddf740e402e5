"""All figures and tables of the paper, each point measured once.

Takes the options of the single experiments. Without --models or --networks each experiment runs on
the paper's networks; with them on all that are given, but those that the paper made on ResNet-18
alone (Figs. 4, 6, 7, Table III) keep to it where it is among them.

    python -m experiments.run_all --data imagenet/val --out results
    python -m experiments.run_all --networks networks.json --out results
    python -m experiments.run_all --quick
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from fmtc.cli.command import Parser, main_with_errors, out_folder

from . import (
    fig3_rate_distortion,
    fig4_ablation,
    fig5_eigenvalues,
    fig6_block_shape,
    fig7_energy,
    table1_ebpc,
    table2_quantizers,
    table3_hardware,
)
from .common import Experiment, add_options, stores_of
from .store import Store

EXPERIMENTS: tuple[Experiment, ...] = tuple(
    module.EXPERIMENT
    for module in (
        fig3_rate_distortion,
        fig4_ablation,
        fig5_eigenvalues,
        fig6_block_shape,
        fig7_energy,
        table1_ebpc,
        table2_quantizers,
        table3_hardware,
    )
)


def main(arguments: Sequence[str] | None = None) -> int:
    return main_with_errors("run_all", lambda: run(arguments))


def run(arguments: Sequence[str] | None = None) -> None:
    """Network by network, so that one is in memory at a time, then every experiment's files."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(words)
    with out_folder(options.out):
        _run(options, shlex.join(["python", "-m", "experiments.run_all", *words]))


def _run(options: argparse.Namespace, command: str) -> None:
    paper = list(dict.fromkeys(name for e in EXPERIMENTS for name in e.networks))
    stores = stores_of(options, paper)
    given = options.models or options.networks or options.quick
    chosen = {e.name: networks_of(e, stores, bool(given)) for e in EXPERIMENTS}
    for store in stores:
        for experiment in EXPERIMENTS:
            if store in chosen[experiment.name]:
                experiment.measure(store, _options_of(experiment, options))
        store.release()
    for experiment in EXPERIMENTS:
        experiment.run(chosen[experiment.name], _options_of(experiment, options), command)


def networks_of(experiment: Experiment, stores: list[Store], given: bool) -> list[Store]:
    """The networks of an experiment among those at hand; the rule is the module's."""
    paper = [store for store in stores if store.network.model in experiment.networks]
    keeps_to_one = len(experiment.networks) == 1 and paper
    return paper if keeps_to_one or not given else stores


def parser() -> Parser:
    made = Parser(
        "python -m experiments.run_all",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(made)
    return made


def _options_of(experiment: Experiment, options: argparse.Namespace) -> argparse.Namespace:
    """The common options, and the defaults of what only this experiment has."""
    defaults = vars(experiment.parser().parse_args([]))
    return argparse.Namespace(**{**defaults, **vars(options)})


if __name__ == "__main__":
    sys.exit(main())
