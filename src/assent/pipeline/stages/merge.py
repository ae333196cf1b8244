"""Stage ``merge``: a plain model of an adapter and its base."""

from __future__ import annotations

from assent.errors import ModelError
from assent.models.adapter_files import is_adapter, is_of_reward_model
from assent.models.device import pick_device
from assent.models.load import load_policy, load_reward_model
from assent.pipeline.stage import Context, Input, Metrics, Stage
from assent.pipeline.stages.training import PublishSettings, finish


class MergeSettings(PublishSettings):
    """A plain model of an adapter and its base."""

    model: str = Input("model", description="Adapter folder of a policy or a reward model; its base is where it says")


def run(settings: MergeSettings, context: Context) -> Metrics:
    source = settings.model
    if not is_adapter(source):
        raise ModelError(f"{source}: is no adapter folder (no adapter_config.json in it), so there is nothing to merge")
    load = load_reward_model if is_of_reward_model(source) else load_policy
    model = load(source, pick_device())
    finish(model, settings, "merging an adapter", source, context)
    return {"parameters": sum(p.numel() for p in model.parameters())}


STAGE = Stage(kind="merge", summary="Merge an adapter into its base", Settings=MergeSettings, run=run)
