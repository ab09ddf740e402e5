"""The search for the quantiser step that meets a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from ..targets import Measure, Share, Sought, Target, TargetError, Value

MOST_MEASUREMENTS = 10
# A value is aimed at to within half of its tolerance; all of it is allowed after this many.
ENOUGH_MEASUREMENTS = 3
SHARE_RATIO = 1.05  # a share's step is known to within this factor
OCTAVES = 12  # how far from the start (or from what is known already) a step is looked for
FLAT = 0.1  # a curve that falls less than this an octave, where 1 is expected, is a plateau
STEEP = 3.0
# Octaves between two measurements around the target: within NARROW a smooth curve would have met
# it, and JUMP tolerances are allowed to noise or a small jump; within NARROWEST the curve jumps.
NARROW, JUMP, NARROWEST = 0.05, 5.0, 2e-3


@dataclass(frozen=True)
class Found:
    """The measurement that meets a target, and how many were made to find it."""

    measure: Measure
    measurements: int

    @property
    def step(self) -> float:
        return self.measure.step


def search(
    target: Target,
    measure: Callable[[float], Measure],
    start: float,
    known: Iterable[Measure] = (),
    *,
    finest: float = 0.0,
    coarsest: float = math.inf,
) -> Found:
    """The global step that meets a Rate, SNR, KL, Agreement or AccuracyDrop.

    A rate is met to within 2 %, an SNR to within 0.2 dB and a KL to within 5 %, or where they are
    noisy to within 10 %, 1 dB and 25 %, once the step is known to 3 %; otherwise an SNR or a KL by
    the coarsest step measured that has more or less, so that a curve that ends or jumps beyond it
    meets it. A share is met by the largest step
    (to within 5 %) that has it, as far as measured.

    measure: step -> Measure, called at most 10 times, never twice for one step; start: where to
    begin; known: measurements made before, which are used first; finest, coarsest: steps that can
    be made. Raises TargetError where no step meets the target, ValueError where its figure is not
    measured (an agreement without classes).
    """
    if not start > 0 or not math.isfinite(start):
        raise ValueError(f"the step to start from must be positive and finite, got {start}")
    if not isinstance(target, Sought):
        raise ValueError(f"{target} is set as it is; there is nothing to search for")
    usable = [point for point in known if getattr(point, target.figure) is not None]
    steps = _Steps(measure, start, usable, finest, coarsest)
    if isinstance(target, Share):
        return Found(_find_share(target, steps), steps.count)
    assert isinstance(target, Value)
    return Found(_find_value(target, steps), steps.count)


class _Steps:
    """The measurements so far, by step, and the range in which more can be made."""

    def __init__(
        self,
        measure: Callable[[float], Measure],
        start: float,
        known: list[Measure],
        finest: float,
        coarsest: float,
    ):
        self.measure = measure
        self.points = sorted(known, key=lambda point: point.step)
        self.count = 0
        all_steps = [start, *(point.step for point in self.points)]
        self.finest = max(finest, min(all_steps) * 2.0**-OCTAVES)
        self.coarsest = min(coarsest, max(all_steps) * 2.0**OCTAVES)
        self.start = self._within(start)

    @property
    def left(self) -> bool:
        return self.count < MOST_MEASUREMENTS

    def add(self, step: float) -> bool:
        """Measure at this step; False where that is done already (as beyond the range)."""
        step = self._within(step)
        if any(abs(math.log2(point.step / step)) < NARROWEST / 4 for point in self.points):
            return False
        self.points = sorted([*self.points, self.measure(step)], key=lambda point: point.step)
        self.count += 1
        return True

    def _within(self, step: float) -> float:
        return min(max(step, self.finest), self.coarsest)


def _find_value(target: Value, steps: _Steps) -> Measure:
    """Secant between the two measurements around the target, once there are such."""
    going_on = bool(steps.points) or steps.add(steps.start)
    while True:
        best = min(steps.points, key=target.error)
        goal = target.octaves(target.value)
        curve = [
            (math.log2(p.step), target.octaves(target.measured(p)) - goal) for p in steps.points
        ]
        around = [(a, b) for a, b in pairwise(curve) if a[1] >= 0 >= b[1] and a[1] != b[1]]
        ends = min(around, key=lambda ends: ends[0][1] - ends[1][1], default=None)
        if target.error(best) <= _tolerated(steps.count, ends):
            return best
        step = _between(*ends, steps.count) if ends else _beyond(curve)
        if step is None and steps.count == 0:
            step = steps.start  # what was known does not show the way
        elif step is None and not ends and target.exceeded_by(steps.points[-1]):
            step = steps.coarsest  # a plateau of more than is asked for: what is at its end?
        if step is None or not going_on or not steps.left:
            if target.error(best) <= 1:
                return best
            exceeding = [point for point in steps.points if target.exceeded_by(point)]
            if exceeding:
                return exceeding[-1]
            raise TargetError(target, best)
        going_on = steps.add(step)


# In these, x = log2(step) and y is the figure in octaves above the target's: y = 0 is looked for,
# and y falls by about 1 where x grows by 1.
Point = tuple[float, float]


def _tolerated(count: int, ends: tuple[Point, Point] | None) -> float:
    """More where the step is known so well that only noise or a jump of the curve can be left."""
    if ends and ends[1][0] - ends[0][0] < NARROW:
        return JUMP
    return 0.5 if count < ENOUGH_MEASUREMENTS else 1.0


def _between(a: Point, b: Point, count: int) -> float | None:
    """Where the curve crosses the target; None where it jumps over it."""
    (x0, y0), (x1, y1) = a, b
    if x1 - x0 < NARROWEST:
        return None
    share = min(max(y0 / (y0 - y1), 0.05), 0.95)
    # A secant may creep along a bent curve; half of a bisection ends that.
    share = share if count < 5 else (share + 0.5) / 2
    return 2 ** (x0 + share * (x1 - x0))


def _beyond(curve: list[Point]) -> float | None:
    """Extrapolate from the coarsest step where it is above the target, else from the finest.

    None on a plateau: twice an octave or more that brought next to nothing.
    """
    coarser = curve[-1][1] > 0
    outward = [(x, y) for x, y in (curve[::-1] if coarser else curve) if (y > 0) == coarser]
    pairs = [(abs(x0 - x1), (y0 - y1) / (x0 - x1)) for (x0, y0), (x1, y1) in pairwise(outward[:3])]
    if len(pairs) == 2 and all(width >= 1 and -slope < FLAT for width, slope in pairs):
        return None
    (x, y), slope, least = outward[0], -1.0, 0.02
    if pairs:
        width, measured = pairs[0]
        # Two points near each other show more noise than slope.
        low, high = (-STEEP, -0.25) if width >= 0.5 else (-2.0, -0.5)
        slope = min(max(measured, low), high)
        least = max(3 * width, least) if -measured < FLAT else least
    jump = min(max(abs(y / slope), least), 4.0)
    return 2 ** (x + jump if coarser else x - jump)


def _find_share(target: Share, steps: _Steps) -> Measure:
    """Bisection: a share of a few images is a staircase, and not a monotone one."""
    going_on = bool(steps.points) or steps.add(steps.start)
    jump = 1.0
    while True:
        good = [point for point in steps.points if target.met_by(point)]
        bad = [p for p in steps.points if not good or p.step > good[-1].step]
        bracketed = good and bad and bad[0].step / good[-1].step <= SHARE_RATIO
        if bracketed or not going_on or not steps.left:
            if good:
                return good[-1]
            raise TargetError(target, min(bad, key=target.loss))
        if good and bad:
            step = math.sqrt(good[-1].step * bad[0].step)
        else:
            edge = good[-1] if good else bad[0]
            far = min(max(jump, _octaves_to(target, edge)), 4.0)
            step = edge.step * 2.0 ** (far if good else -far)
            jump *= 2
        going_on = steps.add(step)


def _octaves_to(target: Share, point: Measure) -> float:
    """How far the target is from this point, if what is lost grows with the step."""
    loss = target.loss(point)
    return abs(math.log2(loss / target.allowed)) if loss > 0 and target.allowed > 0 else 0.0
