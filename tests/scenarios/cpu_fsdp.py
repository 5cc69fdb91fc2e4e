"""FSDP over gloo on CPUs, which torch allows and Lightning doesn't; gathered weights are copied nowhere else."""

import torch
from lightning.pytorch.strategies import FSDPStrategy, fsdp
from torch.distributed.fsdp import FullOptimStateDictConfig, FullStateDictConfig, StateDictType
from torch.distributed.fsdp import FullyShardedDataParallel as Fsdp


class CpuFsdp(FSDPStrategy):
    """Lightning's strategy on CPUs."""

    def _setup_model(self, model):
        wrapped = Fsdp(model, device_id=torch.device("cpu"), **self.kwargs)
        del self.kwargs["auto_wrap_policy"]
        return super()._setup_model(wrapped)


def _whole(module, world_size, rank0_only=True):
    kinds = (FullStateDictConfig(False, False), FullOptimStateDictConfig(False, False))
    return Fsdp.state_dict_type(module, StateDictType.FULL_STATE_DICT, *kinds)


fsdp._get_full_state_dict_context = _whole
