"""Random small workflows, driven by random results, pauses and cancellations: the laws hold after every step.

`make simulate` looks for longer, with another seed each time.
"""

from __future__ import annotations

from functools import partial

from hypothesis import given

from tests.engine.driving import ENDING, STEPS, Step, carry_out, deploy, examples, fresh_world
from tests.engine.generated import Workflow, tasks, without_children
from tradewind_server.runtime.committer import Broken
from tradewind_server.testing import laws
from tradewind_server.testing.scenario import Stage


@examples(40)
@given(tasks(), tasks(), STEPS)
def test_random_workflow_always_ends_or_has_a_next_cause(
    workflow: Workflow, child: Workflow, steps: list[Step]
) -> None:
    """Whatever happens, replay gives the rows, changes of state are legal, and what is open is moved by something."""
    with fresh_world() as world:
        deploy(world, workflow, without_children(child))
        stage = Stage(world, partial(laws.check, world))
        stage.step({"start": {"workflow": "wf"}})
        for step in [*steps, *ENDING]:
            carry_out(stage, step)
            for id_ in stage.tree():
                laws.check(world, id_)
            assert not [a for o in world.outcomes for _, a in o.answers if isinstance(a, Broken)], "the batch broke"
