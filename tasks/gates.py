"""Gates: conditions on scores under which a scheduled run fails, such as `grounding_f1_macro < 0.95 * baseline`.

    condition   comparison, or conditions joined by `and`, `or`, `not`, in parentheses as needed
    comparison  < <= > >= == != between numbers
    number      digits; the name of a metric in `summaries`; `baseline`; `baseline.NAME`; + - * / of numbers
    NAME        as in docs/metrics.md; `grounding_f1_macro` without `strict` or `cited` means strict, so does `gmeteor`;
                `alarms` is the number of the captioner's alarms, `captions` how many captions count

Alarms that could not be decided, for want of a value, leave a condition open unless it says the same with and without.

`baseline` is the baseline's value of the one metric that its comparison names; `baseline.NAME` of any. Read by Python's
parser into a tree of which every node is looked up in a list; nothing is ever evaluated as Python.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from storage.errors import UnknownNameError
from tasks.baselines import Known
from tasks.errors import GateError, GateSyntaxError
from tasks.metrics import available, load, names_in_summaries

LONGEST = 500
"""Characters of a condition."""
BASELINE, ALARMS = "baseline", "alarms"
COUNTS = (ALARMS, "captions")
"""What a captioner has beside its metrics."""
SHORT = re.compile(r"(grounding_(?:precision|recall|f1))_(macro|micro)|(gmeteor)")
OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
COMPARISONS: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
ANEW = "Take a new baseline: run once with --accept, or name a captioner with --baseline."
Values = Mapping[str, Known]


@dataclass(frozen=True)
class Gate:
    """One condition, read."""

    text: str
    condition: ast.expr

    @property
    def needs_baseline(self) -> bool:
        """Whether it names a baseline."""
        return any(isinstance(node, ast.Name) and node.id == BASELINE for node in ast.walk(self.condition))


@dataclass(frozen=True)
class Decision:
    """What a gate says of one captioner."""

    captioner: str
    gate: str
    failed: bool | None
    """None: it could not be decided."""
    said: str
    """The condition with its numbers, or why it could not be decided, and the remedy."""

    def __str__(self) -> str:
        """One line."""
        how = {True: "FAILED", False: "passed", None: "CANNOT BE DECIDED"}[self.failed]
        return f"{self.captioner}: {self.gate}: {how}: {self.said}"


def read_gate(text: str) -> Gate:
    """A condition. Raises GateSyntaxError for what is none, UnknownNameError for a metric that is not there."""
    if len(text) > LONGEST:
        raise GateSyntaxError(f"a condition of {len(text)} characters; {LONGEST} are the most. Give several instead.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _check_condition(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, GateSyntaxError):
            raise GateSyntaxError(f"{text!r} is no condition: {error} Such as: metric < 0.95 * baseline") from None
        raise GateSyntaxError(f"{text!r} cannot be read. Write a condition such as: bleu4 < 0.95 * baseline") from None
    return Gate(text.strip(), tree)


def _check_condition(node: ast.expr) -> None:
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check_condition(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check_condition(node.operand)
    elif isinstance(node, ast.Compare):
        if unknown := [one for one in node.ops if type(one) not in COMPARISONS]:
            raise GateSyntaxError(f"{type(unknown[0]).__name__} is no comparison of numbers.")
        for value in (node.left, *node.comparators):
            _check_number(value)
        if _is_bare_baseline(node) and len(_metrics(node)) != 1:
            raise GateSyntaxError(
                f"{ast.unparse(node)!r} names {len(_metrics(node))} metrics, so it is not said which one `baseline` "
                "is of; write baseline.NAME."
            )
    else:
        raise GateSyntaxError(f"{ast.unparse(node)!r} compares nothing.")


def _check_number(node: ast.expr) -> None:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        _check_number(node.left)
        _check_number(node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        _check_number(node.operand)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        if not math.isfinite(_float(node.value)):
            raise GateSyntaxError("a number is too large.")
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == BASELINE:
        _metric(node.attr)
    elif isinstance(node, ast.Name):
        if node.id != BASELINE:
            _metric(node.id)
    else:
        raise GateSyntaxError(f"{ast.unparse(node)!r} is no number and no metric.")


def _float(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf


def _metric(name: str) -> str:
    """The name in summaries. Raises UnknownNameError."""
    if short := SHORT.fullmatch(name):
        return f"{short[3]}_strict" if short[3] else f"{short[1]}_strict_{short[2]}"
    known = [one for metric in map(load, available()) for one in names_in_summaries(metric)]
    if name not in known and name not in COUNTS:
        raise UnknownNameError("metric", name, [*known, *COUNTS])
    return name


def _metrics(node: ast.Compare) -> set[str]:
    """The metrics a comparison names itself, not as `baseline.NAME`."""
    return {_metric(one.id) for one in ast.walk(node) if isinstance(one, ast.Name) and one.id != BASELINE}


def _is_bare_baseline(node: ast.Compare) -> bool:
    owners = [one.value for one in ast.walk(node) if isinstance(one, ast.Attribute)]
    named = [one for one in ast.walk(node) if isinstance(one, ast.Name) and one.id == BASELINE]
    return len(named) > len(owners)


@dataclass(frozen=True)
class Judge:
    """Decides gates of one captioner by its values and those of its baseline."""

    captioner: str
    values: Values
    baseline: Values | None
    no_baseline: str
    """Why there is no baseline, and the remedy; used where `baseline` is None."""

    def decide(self, gate: Gate) -> Decision:
        """Whether the condition holds: then the gate has failed."""
        try:
            failed = self._condition(gate.condition)
        except GateError as error:
            return Decision(self.captioner, gate.text, None, str(error))
        numbers = dict.fromkeys(self._said(gate.condition))
        return Decision(self.captioner, gate.text, failed, ", ".join(numbers))

    def _condition(self, node: ast.expr) -> bool:
        if isinstance(node, ast.BoolOp):
            found = [self._condition(value) for value in node.values]  # all, so that none is left undecided unseen
            return all(found) if isinstance(node.op, ast.And) else any(found)
        if isinstance(node, ast.UnaryOp):
            return not self._condition(node.operand)
        assert isinstance(node, ast.Compare)  # read_gate lets nothing else pass
        possible = {judge._comparison(node) for judge in self._possible(node)}
        if len(possible) > 1:
            known = self.values[ALARMS]
            number = "1 alarm" if known.captions == 1 else f"{known.captions} alarms"
            raise GateError(f"{self.captioner} has {number}, and perhaps more: {known.reason}")
        return possible.pop()

    def _possible(self, node: ast.Compare) -> "Iterator[Judge]":
        """This one; also with more alarms, where a comparison of them was not decided in full."""
        known = self.values.get(ALARMS)
        yield self
        if known is not None and known.value is not None and ALARMS in _metrics(node):
            for more in range(1, known.more + 1):
                yield replace(self, values={**self.values, ALARMS: replace(known, value=known.value + more)})

    def _comparison(self, node: ast.Compare) -> bool:
        numbers = [self._number(value, node) for value in (node.left, *node.comparators)]
        pairs = zip(node.ops, numbers, numbers[1:], strict=False)
        return all(COMPARISONS[type(one)](left, right) for one, left, right in pairs)

    def _number(self, node: ast.expr, comparison: ast.Compare) -> float:
        if isinstance(node, ast.BinOp):
            left, right = self._number(node.left, comparison), self._number(node.right, comparison)
            if isinstance(node.op, ast.Div) and right == 0:
                raise GateError(f"{ast.unparse(node)!r} divides by zero.")
            found = OPERATORS[type(node.op)](left, right)
            if not math.isfinite(found):  # nothing is below it or above it that means something
                raise GateError(f"{ast.unparse(node)!r} is no finite number.")
            return found
        if isinstance(node, ast.UnaryOp):
            number = self._number(node.operand, comparison)
            return -number if isinstance(node.op, ast.USub) else number
        if isinstance(node, ast.Constant):
            return _float(node.value)
        return self._looked_up(node, comparison)

    def _looked_up(self, node: ast.expr, comparison: ast.Compare) -> float:
        if isinstance(node, ast.Name) and node.id != BASELINE:
            return _value(self.captioner, _metric(node.id), self.values)
        name = _metric(node.attr) if isinstance(node, ast.Attribute) else next(iter(_metrics(comparison)))
        if self.baseline is None:
            raise GateError(self.no_baseline)
        whose = f"the baseline of {self.captioner}"
        if name in COUNTS and name not in self.baseline:
            raise GateError(f"{whose} does not say how many {name} there were; name a captioner with --baseline")
        if name not in self.baseline:
            raise GateError(f"{whose} has no {name}: it was not among the metrics then. {ANEW}")
        if self.baseline[name].more:
            raise GateError(f"{whose} has alarms that could not be decided: {self.baseline[name].reason}")
        value = _value(whose, name, self.baseline)
        if name in self.values and not self.values[name].computed_as(self.baseline[name]):
            raise GateError(
                f"{name} of the baseline was computed in another way ({self.baseline[name].signature}) than now "
                f"({self.values[name].signature}). {ANEW}"
            )
        return value

    def _said(self, node: ast.expr) -> Iterator[str]:
        """Every value that the condition read, with its name."""
        for one in ast.walk(node):
            if not isinstance(one, ast.Compare):
                continue
            for part in (one.left, *one.comparators):
                for leaf in ast.walk(part):
                    if isinstance(leaf, ast.Attribute) or (isinstance(leaf, ast.Name) and leaf.id != BASELINE):
                        yield f"{ast.unparse(leaf)} is {self._looked_up(leaf, one):.6g}"
            if _is_bare_baseline(one):
                yield f"baseline is {self._looked_up(ast.Name(BASELINE), one):.6g}"


def _value(whose: str, name: str, values: Values) -> float:
    known = values.get(name)
    if known is None:
        raise GateError(f"{whose} has no {name}: it is not among the metrics that were computed. Add it to [score].")
    if known.value is None or not math.isfinite(known.value):
        raise GateError(f"{whose} has no value of {name}: {known.reason or 'it is not a number'}")
    return known.value
