"""How long fuzzing takes: a short version among all tests, and the whole of `make fuzz`.

QATLAB_FUZZ multiplies the number of generated inputs (1 unless set); QATLAB_FUZZ_SEED chooses other ones.
"""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings

from qatlab.errors import printable

TIMES = float(os.environ.get("QATLAB_FUZZ", "1"))
SEED = int(os.environ.get("QATLAB_FUZZ_SEED", "0"))


def fuzz(examples: int, shrink: bool = True) -> Callable[[Any], Any]:
    """Decorate a property with `examples` generated inputs, times QATLAB_FUZZ.

    Args:
        shrink: whether the smallest input that fails is looked for; False where an input takes seconds.
    """
    phases = [phase for phase in Phase if shrink or phase not in (Phase.shrink, Phase.explain)]
    chosen = settings(
        max_examples=round(examples * TIMES),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        phases=phases,
    )

    def decorate(test: Any) -> Any:
        return seed(SEED)(chosen(test))

    return decorate


def assert_one_line(error: BaseException) -> None:
    """A message for a person: one line of a size that can be read, without a traceback or an exception's name."""
    message = printable(error)  # as it is shown
    assert message.strip(), repr(error)
    assert "\n" not in message, message
    assert len(message) < 1500, message[:200]
    assert "Traceback" not in message, message
