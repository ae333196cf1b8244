"""Records the settings of TRL's trainers, with their defaults: ``python tests/golden/record_trl_settings.py``.

Of each config class those that it declares itself; of ``transformers.TrainingArguments``, from which they all inherit,
those that people set (COMMON).  Run it with the newest TRL first, then with an older one for the trainers that the
newer one has dropped: an entry of a newer version is kept.  With the folder of an unpacked wheel of TRL 0.x it adds
the PPO of those days, whose module no longer imports, from its source.  See README.md.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import trl
from trl.trainer.base_config import _BaseConfig

PATH = Path(__file__).parent / "trl-settings.json"
PACKAGE = Path(trl.__file__).parent

COMMON = (
    *("output_dir", "per_device_train_batch_size", "gradient_accumulation_steps", "auto_find_batch_size"),
    *("num_train_epochs", "max_steps", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"),
    *("optim", "optim_args", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm"),
    *("average_tokens_across_devices", "label_smoothing_factor", "neftune_noise_alpha", "bf16", "fp16", "tf32"),
    *("gradient_checkpointing", "gradient_checkpointing_kwargs", "torch_compile", "use_liger_kernel"),
    *("torch_empty_cache_steps", "use_cpu", "seed", "data_seed", "full_determinism", "do_train", "do_eval"),
    *("eval_strategy", "eval_steps", "eval_on_start", "per_device_eval_batch_size", "save_strategy", "save_steps"),
    *("save_total_limit", "save_only_model", "resume_from_checkpoint", "load_best_model_at_end"),
    *("metric_for_best_model", "greater_is_better", "logging_strategy", "logging_steps", "logging_first_step"),
    *("report_to", "run_name", "disable_tqdm", "push_to_hub", "hub_model_id", "hub_strategy", "hub_token"),
    *("hub_private_repo", "dataloader_num_workers", "dataloader_drop_last", "remove_unused_columns"),
    *("train_sampling_strategy", "deepspeed", "fsdp", "fsdp_config", "parallelism_config"),
)


class ConfigsAlone(ModuleType):
    """A package of TRL that has its config classes and not its trainers, some of which want packages not here."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"trl.experimental.{folder.name}")
        self.__path__ = [str(folder)]

    def __getattr__(self, name: str) -> Any:
        if not name.endswith("Config"):
            raise AttributeError(name)
        return getattr(import_module(f"{self.__name__}.{self.__name__.split('.')[-1]}_config"), name)


def config_classes() -> Iterator[type]:
    for folder in PACKAGE.glob("experimental/*/"):
        sys.modules[f"trl.experimental.{folder.name}"] = ConfigsAlone(folder)
    for path in sorted([*PACKAGE.glob("trainer/*_config.py"), *PACKAGE.glob("experimental/*/*_config.py")]):
        parts = ("trl", *path.relative_to(PACKAGE).with_suffix("").parts)
        for kind in vars(import_module(".".join(parts))).values():
            if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == ".".join(parts):
                yield kind


def defaults(kind: type) -> dict[str, Any]:
    return {field.name: plain(default_of(field)) for field in dataclasses.fields(kind)}


def default_of(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, list)) or value is None else str(value)


def own(kind: type) -> dict[str, Any]:
    declared, known = vars(kind).get("__annotations__", {}), defaults(kind)
    return {name: known[name] for name in declared if name in known}


def old_ppo(wheel: Path) -> dict[str, dict[str, Any]]:
    """The entry of TRL 0.x's PPOConfig, in an unpacked wheel."""
    number = next(wheel.glob("trl-*.dist-info")).name.removeprefix("trl-").removesuffix(".dist-info")
    tree = ast.parse((wheel / "trl/trainer/ppo_config.py").read_text())
    declared = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    given = {node.target.id: node.value for node in declared if isinstance(node, ast.AnnAssign)}
    return {f"PPOConfig {number}": {"trl": number, "settings": {name: literal(node) for name, node in given.items()}}}


def literal(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None


def is_newer(one: str, other: str) -> bool:
    return [int(part) for part in one.split(".")] > [int(part) for part in other.split(".")]


def main() -> None:
    before = json.loads(PATH.read_text()) if PATH.exists() else {"configs": {}}
    if len(sys.argv) > 1:
        write(before["common"], {**before["configs"], **old_ppo(Path(sys.argv[1]))})
        return
    kept = {name: entry for name, entry in before["configs"].items() if is_newer(entry["trl"], trl.__version__)}
    here = {kind.__name__: kind for kind in config_classes() if kind is not _BaseConfig}
    found = {name: {"trl": trl.__version__, "settings": own(kind)} for name, kind in here.items()}
    known = defaults(_BaseConfig)
    common = {
        "trl": trl.__version__,
        "transformers": version("transformers"),
        "settings": {name: known[name] for name in COMMON},
    }
    old = {name: entry for name, entry in before["configs"].items() if name.startswith("PPOConfig ")}
    write(before["common"] if kept else common, {**found, **kept, **old})


def write(common: dict[str, Any], configs: dict[str, Any]) -> None:
    recorded = {
        "recorded_by": "tests/golden/record_trl_settings.py",
        "common": common,
        "configs": {name: configs[name] for name in sorted(configs)},
    }
    PATH.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
