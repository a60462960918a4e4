"""``python -m tests.fsdp_on_cpu KIND RUN_ID ATTEMPT``: `jobs.child` with FSDP on a CPU, for tests without a GPU.

accelerate 1.15 turns FSDP on for accelerators only (`AcceleratorState.__init__`), though torch shards over gloo as
well. This turns it on for a CPU, and carries the attempt.
"""

import runpy
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

as_it_is = AcceleratorState.__init__


def with_fsdp(self: Any, *args: Any, fsdp_plugin: Any = None, **more: Any) -> None:
    as_it_is(self, *args, fsdp_plugin=fsdp_plugin, **more)
    plugin = fsdp_plugin or self.__dict__.get("fsdp_plugin")
    if self.distributed_type == DistributedType.MULTI_CPU and plugin is not None:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin


AcceleratorState.__init__ = with_fsdp
runpy.run_module("jobs.child", run_name="__main__", alter_sys=True)
