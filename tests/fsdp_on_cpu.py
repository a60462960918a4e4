"""``python -m tests.fsdp_on_cpu FOLDER``: the trainer with FSDP on a CPU, for tests where there is no GPU.

accelerate 1.15 turns FSDP on for accelerators only (`AcceleratorState.__init__`), though torch shards over gloo as
well. This turns it on for a CPU, and starts the trainer.
"""

import runpy
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from training.trainer.processes import TRAINER

as_it_is = AcceleratorState.__init__


def with_fsdp(self: Any, *args: Any, fsdp_plugin: Any = None, **more: Any) -> None:
    as_it_is(self, *args, fsdp_plugin=fsdp_plugin, **more)
    plugin = fsdp_plugin or self.__dict__.get("fsdp_plugin")
    if self.distributed_type == DistributedType.MULTI_CPU and plugin is not None:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin


AcceleratorState.__init__ = with_fsdp
runpy.run_module(TRAINER, run_name="__main__", alter_sys=True)
