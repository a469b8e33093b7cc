"""`vlbench.measure`, `compare` and `assert_not_slower` for any module."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from torch import nn

from tests.architectures.modules_of_others import Fusion, Pair, Words, inputs, make, make_with_inputs
from tests.command_line import kept_workers
from tests.helpers import others_slow, write_tiny
from vlbench import api
from vlbench.api import comparing
from vlbench.errors import InputError
from vlbench.measuring.statistics import summarise
from vlbench.regression.live.record import LiveComparison, LiveWorkload

QUICK: dict[str, Any] = {"budget_seconds": 0.1, "restarts": 1, "threads": 1}


@pytest.fixture(autouse=True, scope="module")
def _one_worker() -> Iterator[None]:
    with kept_workers():
        yield


def test_a_module_is_measured_in_fresh_processes() -> None:
    module = Fusion().train()
    module.head.eval()
    result = api.measure(module, inputs(2), stages={"visual": "encoder", "interaction": "fusion.*"}, **QUICK)
    assert (result.status, result.in_this_process, result.batch) == ("ok", None, 2)
    assert result.params_total == sum(weight.numel() for weight in module.parameters())
    assert result.macs_by_stage == {"visual": 2 * 3 * 8 * 8 * 16 * 16, "interaction": 2 * 2 * 16 * 16 * (6 + 16)}
    assert module.training
    assert not module.head.training
    frame = result.to_frame()
    assert list(frame.index) == ["end to end", "visual", "interaction", "rest"]
    assert frame.loc["end to end", "latency_ms"] == result.latency_ms.median
    assert frame.loc["visual", "macs"] == result.macs_by_stage["visual"]
    assert "fusion" in repr(result)
    assert "<table" in result._repr_html_()


@pytest.mark.parametrize("source", [make_with_inputs, lambda: make_with_inputs()])
def test_a_function_that_makes_the_module(source: Any) -> None:
    """A lambda cannot be named to another process."""
    result = api.measure(source, **QUICK)
    assert result.status == "ok"
    assert (result.in_this_process is None) == (source is make_with_inputs)


def test_a_class_within_a_function_is_measured_here_and_the_result_says_so() -> None:
    class Local(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)

    result = api.measure(Local(), torch.ones(2, 4), **QUICK)
    assert (result.status, result.macs, result.noise is not None) == ("ok", 2 * 16, True)
    assert "Local" in (result.in_this_process or "")
    assert "Measured in this process" in repr(result)
    with pytest.raises(InputError, match="process='this' measures it"):
        api.measure(Local(), torch.ones(2, 4), process="fresh", **QUICK)


def test_nothing_of_a_module_is_changed_where_it_is_measured_here() -> None:
    module, calls = Fusion(), []
    module.head.register_forward_hook(lambda *_: calls.append(1))
    weights = {name: values.clone() for name, values in module.state_dict().items()}
    threads = torch.get_num_threads()
    result = api.measure(module, {"pixels": inputs()[0], "ids": inputs()[1]}, process="this", budget_seconds=0.1)
    assert result.status == "ok"
    assert calls
    assert len(module.head._forward_hooks) == 1
    assert not any(part._forward_pre_hooks for part in module.modules())
    assert module.training
    assert torch.get_num_threads() == threads
    assert all(torch.equal(values, weights[name]) for name, values in module.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in module.parameters())


def test_a_method_is_a_stage_and_stays_a_method() -> None:
    class Methods(Pair):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.double(self.encode(x))

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale

        def double(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    module = Methods()
    result = api.measure(module, torch.ones(3), stages={"encode": "encode"}, process="this", budget_seconds=0.1)
    assert "encode" in (result.latency_ms_by_stage or {})
    assert not {"encode", "double"} & set(vars(module))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_another_precision_is_that_of_weights_and_inputs(precision: Any) -> None:
    result = api.measure(Fusion(), inputs(), precision=precision, **QUICK)
    assert (result.status, result.precision, result.error) == ("ok", precision, None)
    with pytest.raises(InputError, match="in this process a module is measured as it is, in fp32"):
        api.measure(Fusion(), inputs(), precision=precision, process="this")


@pytest.mark.parametrize(("precision", "scope"), others_slow([("int8", "model"), ("fp32", "stages")]))
def test_a_module_is_measured_through_a_runtime(precision: Any, scope: Any) -> None:
    pytest.importorskip("onnxruntime")
    module = Fusion()
    weights = {name: values.clone() for name, values in module.state_dict().items()}
    result = api.measure(module, inputs(), backend="onnxruntime", precision=precision, scope=scope, **QUICK)
    assert (result.status, result.error) == ("ok", None)
    assert (result.backend, result.precision, result.scope) == ("onnxruntime", precision, scope)
    assert result.conversion
    assert result.conversion.equality
    assert ("model" in result.conversion.equality.largest_by_part) == (scope == "model")
    assert all(torch.equal(values, weights[name]) for name, values in module.state_dict().items())


def test_a_runtime_would_change_a_module_of_this_process() -> None:
    class Local(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x

    with pytest.raises(InputError, match=r"^backend='openvino': changes the module, so that process='this' cannot"):
        api.measure(Fusion(), inputs(), backend="openvino", process="this")
    with pytest.raises(InputError, match=r"^local: .*; backend='openvino' needs fresh processes$"):
        api.measure(Local(), torch.ones(3), backend="openvino", **QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "onnxrt"}, "^--backend onnxrt: no such backend; did you mean onnxruntime?"),
        ({"precision": "int8-static"}, "^--precision int8-static: eager does not compute in it on cpu"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "^--precision bf16: onnxruntime does not compute in it"),
    ],
)
def test_an_unknown_backend_and_an_unsupported_pair_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        api.measure(Fusion(), inputs(), **options)
    with pytest.raises(InputError, match=message):
        api.load("vilt").measure(device="cpu", **options)


@pytest.mark.slow
def test_a_model_of_the_catalogue_is_measured_through_a_runtime(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    model = api.load(write_tiny(tmp_path))
    result = model.measure(device="cpu", backend="openvino", scope="model", **QUICK)
    assert (result.status, result.error) == ("ok", None)
    assert (result.backend, result.scope) == ("openvino", "model")
    assert "openvino" in repr(result)


def test_inputs_that_need_gradients_and_a_module_without_parameters() -> None:
    class Square(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x

    given = torch.ones(3, requires_grad=True)
    result = api.measure(Square(), given, **QUICK)
    assert (result.status, result.params_total, result.macs) == ("ok", 0, 0)
    assert given.grad is None


REFUSED = [
    (lambda: (Fusion(), (inputs()[0],)), "missing 1 required positional argument: 'ids'"),
    (lambda: (Words(), torch.ones(3)), "gives a str without a tensor"),
    (lambda: (Fusion(), None), "its inputs are missing"),
    (lambda: (3, torch.ones(3)), "is a int; a torch.nn.Module"),
    (lambda: ("timm:resnet18", None), r"vlbench\.load\('timm:resnet18'\)\.measure\(\)"),
    (lambda: (Pair().double(), torch.ones(3)), r"is in float64; module.float\(\)"),
    (lambda: (Pair().to("meta"), torch.ones(3)), "its weights on meta, its inputs on cpu"),
    (lambda: (Pair().to("meta"), torch.ones(3, device="meta")), "is on meta"),
]


@pytest.mark.parametrize(("made", "reason"), REFUSED)
def test_what_cannot_be_measured_is_one_line(made: Any, reason: str) -> None:
    module, given = made()
    passed = module if isinstance(module, nn.Module | str) else lambda: module
    with pytest.raises(InputError, match=reason) as caught:
        api.measure(passed, given, **QUICK)
    assert "\n" not in str(caught.value)


def test_stages_that_name_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean encoder"):
        api.measure(Fusion(), inputs(), stages={"visual": "encodr"}, **QUICK)


@pytest.mark.slow
@pytest.mark.serial
def test_its_latency_is_that_of_a_bare_loop() -> None:
    """In the same process, in turns; the bar is 1% on an idle machine."""
    module = nn.Sequential(*(nn.Linear(512, 512) for _ in range(8))).eval()
    given = torch.ones(256, 512)

    def bare() -> float:
        samples = []
        with torch.inference_mode():
            for _ in range(150):
                start = time.perf_counter()
                module(given)
                samples.append(time.perf_counter() - start)
        return 1e3 * median(samples[30:])

    ratios = []
    for _ in range(5):
        before = bare()
        result = api.measure(module, given, process="this", budget_seconds=3)
        ratios.append(result.latency_ms.median / ((before + bare()) / 2))
    assert median(ratios) == pytest.approx(1, abs=0.03), ratios


def made_up(name: str, medians: list[float]) -> api.Measurement:
    result = api.measure(Pair(), torch.ones(3), name=name, process="this", budget_seconds=0.01)
    quiet = result.model_copy(update={"noise": None, "latency_ms_by_stage": None, "restarts": ()})
    return quiet.model_copy(update={"latency_ms": summarise([[value] for value in medians])})


def test_results_are_compared() -> None:
    base = made_up("before", [10 + 0.01 * index for index in range(10)])
    slower = made_up("after", [12 + 0.01 * index for index in range(10)])
    comparison = api.compare(base, slower)
    assert comparison.verdict == "regression"
    assert "slower" in repr(comparison)
    with pytest.raises(AssertionError, match="slower"):
        api.assert_not_slower(slower, base)
    api.assert_not_slower(base, slower)
    api.assert_not_slower(slower, base, threshold="50%")
    with pytest.warns(UserWarning, match="cannot tell"):
        api.assert_not_slower(made_up("after", [10.0]), base)
    with pytest.raises(InputError, match=r"5% or 0\.05 works"):
        api.compare(base, slower, threshold="0%")
    with pytest.raises(InputError, match="two results, or a function"):
        api.assert_not_slower(base, make)


def test_a_verdict_that_is_only_advice_fails_no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the fixture of pytest: the machine was disturbed meanwhile, or two processes of the baseline differ."""
    base = made_up("before", [10 + 0.01 * index for index in range(10)])
    slower = made_up("after", [12 + 0.01 * index for index in range(10)])
    comparison = api.compare(base, slower)

    def compared(disturbed: str | None) -> Any:
        workload = LiveWorkload.model_construct(biased=False, disturbed=disturbed)
        return lambda *_, **__: LiveComparison.model_construct(comparison=comparison, workloads=(workload,))

    monkeypatch.setattr(comparing, "compare_functions", compared(None))
    with pytest.raises(AssertionError, match="slower"):
        api.assert_not_slower(make, "HEAD~1")
    monkeypatch.setattr(comparing, "compare_functions", compared("others kept it busy"))
    with pytest.warns(UserWarning, match="others kept it busy"):
        api.assert_not_slower(make, "HEAD~1")


def test_a_list_is_one_argument() -> None:
    """As detectors of torchvision read it."""

    class Mean(nn.Module):
        def forward(self, images: list[torch.Tensor]) -> torch.Tensor:
            return torch.stack([image.mean() for image in images])

    given = [torch.ones(3, 4, 5), torch.ones(3, 6, 7)]
    assert api.measure(Mean(), given, process="this", budget_seconds=0.1).status == "ok"
    assert api.count(Mean(), given).total.params == 0
