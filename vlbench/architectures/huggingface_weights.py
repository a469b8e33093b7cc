"""Classes, configs and weights of transformers: drawn from a seed, or read from a folder or a hub."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook
from transformers.initialization import no_init_weights
from transformers.utils import logging

from vlbench.architectures.checkpoints.config import config_values, refuse_other_settings
from vlbench.architectures.checkpoints.reading import read_layout
from vlbench.architectures.initialise import check_memory, without_default_weights
from vlbench.errors import LONGEST_REASON, InputError, SpecError, nearest, shortened
from vlbench.specs import HuggingFaceSpec, ModuleSpec
from vlbench.specs.weights import HUB, check_config_folder, home_expanded, weights_file

# What transformers raises for values of a config that it cannot build a model of.
REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
OF_A_CONNECTION = ("Connect", "Offline", "LocalEntryNotFound", "URLError")  # parts of the names of such errors
UNREADABLE = (*REFUSALS, OSError, SafetensorError, pickle.UnpicklingError)
MOST_MODULES = 50_000  # some 3,000 layers
MOST_LABELS = 1_000_000  # a config makes a name for each
AMOUNTS = re.compile(r"(^|_)(num|layers|heads|size|dim|depth)(_|$)")  # in names of what cannot be negative


def find_class(spec: HuggingFaceSpec) -> Any:
    """The class that a spec names. Raises SpecError where transformers has none."""
    model_class = getattr(transformers, spec.transformers, None)
    is_model = isinstance(model_class, type) and issubclass(model_class, transformers.PreTrainedModel)
    if is_model and not spec.transformers.endswith("PreTrainedModel"):
        return model_class
    names = [name for name in dir(transformers) if name.endswith("Model") or "For" in name]
    known = [name for name in names if not name.startswith("Auto") and not name.endswith("PreTrainedModel")]
    raise SpecError(
        f"{spec.name}: transformers {transformers.__version__} has no model class {spec.transformers!r}; "
        + nearest(spec.transformers, known)
    )


def make(spec: HuggingFaceSpec, *, blank: bool = False) -> nn.Module:
    """The model with weights from the spec's seed or its `weights`; `blank` leaves them uninitialised.

    Raises SpecError if class, config or weights do not fit.
    """
    model_class = find_class(spec)
    with quiet(), _few_modules():
        if spec.weights != "random" and not blank:
            return _with_weights(spec, model_class)
        try:
            config = config_of(spec, model_class)
            if not blank:
                with torch.device("meta"), no_init_weights():
                    check_memory(spec.name, model_class(config))
            # transformers initialises every layer itself, so PyTorch need not.
            with seeded(spec.seed), no_init_weights() if blank else without_default_weights():
                model = model_class(config)
                model.tie_weights()  # which no_init_weights leaves out
                return model
        except REFUSALS as error:
            raise SpecError(f"{spec.name}: config: {spec.transformers} refuses it: {error_line(error)}") from error


def config_of(spec: HuggingFaceSpec, model_class: Any) -> Any:
    """The config of the weights, of a folder or a hub, or of the spec's own settings. Raises SpecError."""
    config_class = model_class.config_class
    source = spec.weights if spec.weights != "random" else spec.config
    if isinstance(source, str):
        config = _read(source, config_class, spec)
    else:
        _check_keys(source, config_class(), f"{spec.name}: config")
        config = config_class(**source)
    if "/" in str(getattr(config, "_attn_implementation", "")):
        raise SpecError(f"{spec.name}: config: _attn_implementation names code on a hub; eager and sdpa work")
    if spec.answers is not None:
        if spec.weights != "random":
            _check_answers(spec, config)
        else:
            setattr(config, spec.answers_setting, spec.answers)
    vocabulary = getattr(config.get_text_config(), "vocab_size", spec.text.vocabulary)
    if vocabulary < spec.text.vocabulary:
        raise SpecError(
            f"{spec.name}: text.vocabulary is {spec.text.vocabulary}, but the config has {vocabulary}; "
            f"{vocabulary} works"
        )
    return config


def _check_keys(settings: Mapping[str, Any], config: Any, where: str) -> None:
    """A config accepts any key as an attribute, so that a misspelt one would have no effect."""
    known = {**vars(config), **config.to_dict(), "num_labels": None}
    for key, value in settings.items():
        if key not in known and (not hasattr(config, key) or callable(getattr(config, key))):
            raise SpecError(f"{where}: {type(config).__name__} has no {key!r}; {nearest(key, known)}")
        _check_amount(key, value, where)
        inner = getattr(config, key, None)
        if isinstance(value, Mapping) and isinstance(inner, transformers.PretrainedConfig):
            _check_keys(value, inner, f"{where}.{key}")


def _check_amount(key: str, value: Any, where: str) -> None:
    """A config takes -1 layers for none, and makes names for any number of labels."""
    most = MOST_LABELS if key == "num_labels" else float("inf")
    if isinstance(value, int | float) and AMOUNTS.search(key) and not 0 <= value <= most:
        limit = f", and at most {most:,}" if key == "num_labels" else ""
        raise SpecError(f"{where}.{key}: {value} is no amount; it must be at least 0{limit}")


@contextmanager
def _few_modules() -> Iterator[None]:
    """Raises ValueError where a construction makes far more modules than a model has: it would take hours."""
    made = count()

    def check(*_: Any) -> None:
        if next(made) > MOST_MODULES:
            raise ValueError(f"it makes more than {MOST_MODULES:,} modules; fewer layers work")

    handle = register_module_module_registration_hook(check)
    try:
        yield
    finally:
        handle.remove()


def _check_answers(spec: HuggingFaceSpec, config: Any) -> None:
    answers = getattr(config, spec.answers_setting)
    if answers != spec.answers:
        raise SpecError(f"{spec.name}: {spec.weights} has {answers} answers, but {spec.answers} are asked for")


def _read(source: str, config_class: Any, spec: HuggingFaceSpec) -> Any:
    identifier, options = located(source, spec)
    with one_line_errors(source, spec):
        content, _ = config_class.get_config_dict(identifier, **options)
        if content.get("model_type") != config_class.model_type:
            named = content.get("model_type") or "no model of transformers"
            raise SpecError(f"{spec.name}: {source} is {named}, not {config_class.model_type}")
        _check_amount("num_labels", content.get("num_labels"), f"{spec.name}: {source}")
        return config_class.from_dict(content)


def _with_weights(spec: HuggingFaceSpec, model_class: Any) -> nn.Module:
    model = with_weights_of(spec, model_class, config_of(spec, model_class))
    refuse_other_settings(config_values(("images",), weights_file(spec.weights)), spec, source=spec.weights)
    return model


def with_weights_of(spec: HuggingFaceSpec | ModuleSpec, model_class: Any, config: Any) -> nn.Module:
    """The model with the weights that the spec names. Raises SpecError where a tensor is missing, left or another."""
    identifier, options = located(spec.weights, spec)
    with one_line_errors(spec.weights, spec):
        layout = read_layout(spec.weights)  # which refuses what is damaged, quantised or would run code
        model, loaded = model_class.from_pretrained(
            identifier, config=config, dtype=torch.float32, output_loading_info=True, **options
        )
    _refuse_integers(layout, model, spec)
    kind = (config.architectures or [config.model_type])[0]
    gaps = {
        "lacks": loaded["missing_keys"],
        "has besides": loaded["unexpected_keys"],
        "other shape": loaded["mismatched_keys"],
    }
    for what, keys in gaps.items():
        if keys:
            first, *more = sorted(str(key[0] if isinstance(key, tuple) else key) for key in keys)
            raise SpecError(
                f"{spec.name}: {spec.weights} looks like {kind}, not {model_class.__name__}: {what} {first}"
                + (f" (and {len(more)} more)" if more else "")
            )
    return model


def _refuse_integers(layout: Mapping[str, torch.Tensor], model: nn.Module, spec: HuggingFaceSpec | ModuleSpec) -> None:
    """Refuses tensors that transformers turned into floats without a word."""
    floats = [name for name, values in model.state_dict().items() if values.is_floating_point()]
    for name, tensor in layout.items():
        if not tensor.is_floating_point() and any(theirs.endswith(name) for theirs in floats):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise SpecError(f"{spec.name}: {spec.weights}: {name} is {kind}, no float; a quantised checkpoint?")


def located(source: str, spec: HuggingFaceSpec | ModuleSpec) -> tuple[str, dict[str, Any]]:
    """The name for `from_pretrained`, and its options: no access to a hub for a local folder."""
    if source.startswith(HUB):
        return source.removeprefix(HUB), {}
    check_config_folder(source, f"{spec.name}: ")
    return str(home_expanded(source)), {"local_files_only": True}


@contextmanager
def one_line_errors(source: str, spec: HuggingFaceSpec | ModuleSpec) -> Iterator[None]:
    """Turns errors of transformers about files that it cannot read into a SpecError of one line."""
    try:
        yield
    except SpecError:
        raise
    except InputError as error:
        reason = str(error).partition(": ")[2]
        raise SpecError(f"{spec.name}: {source}: cannot be read: {reason}") from error
    except UNREADABLE as error:
        if source.startswith(HUB) and is_unreachable(error):
            reason = "the hub cannot be reached, and no copy is cached; a folder of the same files works"
        else:
            reason = f"cannot be read: {error_line(error)}"
        raise SpecError(f"{spec.name}: {source}: {reason}") from error


def is_unreachable(error: BaseException) -> bool:
    """Whether an error, or what it arose from, is one of a connection."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    names = [kind.__name__ for link in chain for kind in type(link).__mro__]
    return any(word in name for name in names for word in OF_A_CONNECTION)


def error_line(error: BaseException) -> str:
    """The first line of an error, or of its cause where transformers checks the type of a key."""
    if isinstance(error, StrictDataclassError) and error.__cause__:
        return error_line(error.__cause__)
    if isinstance(error, KeyError):
        return shortened(f"it knows no {error}", LONGEST_REASON)
    lines = (line.strip() for line in str(error).splitlines() if line.strip())
    return shortened(next(lines, type(error).__name__), LONGEST_REASON)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the host's generator, and restores its state afterwards."""
    generator = torch.random.default_generator
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers' notes and progress bars; what goes wrong is raised as an error."""
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
