"""The models that a command names, those included that must be made to be known: a worker makes these."""

from __future__ import annotations

from vlbench.errors import InputError
from vlbench.runner.benchmark import open_worker
from vlbench.runner.worker_client import inspect_source
from vlbench.specs import AnySpec, ModuleSpec
from vlbench.specs.catalog import is_source, resolve, split_words
from vlbench.specs.module import Overrides


def find_models(names: str, overrides: Overrides, threads: int) -> tuple[list[AnySpec], list[InputError]]:
    """The specs of a comma-separated list, and why modules among them cannot be measured.

    Raises InputError where nothing can be measured, a word that is no module names no model, or `overrides` describe a
    module and the list has none.

    Args:
        names: as for `resolve`, sources of modules included.
        overrides: of all modules of the list.
        threads: of the process that makes the modules.
    """
    words = split_words(names)
    described = "--input" if overrides.inputs else "--stages" if overrides.stages else ""
    if described and not any(map(is_source, words)):
        raise InputError(f"{described}: describes external modules, and --models {names} has none; timm:NAME is one")
    refusals: list[InputError] = []
    specs: dict[str, ModuleSpec] = {}
    with open_worker(threads) as worker:
        for word in filter(is_source, words):
            try:
                specs[word] = inspect_source(word, overrides, worker)
            except InputError as error:
                refusals.append(error)
    usable = [word for word in words if word in specs or not is_source(word)]
    if refusals and not usable:
        raise refusals[0]
    return resolve(",".join(usable), specs.__getitem__), refusals
