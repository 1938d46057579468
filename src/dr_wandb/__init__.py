"""Get experiment data out of Weights & Biases, and keep it.

The public names, and nothing else. Each is imported when it is first used, so that the command
answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dr_wandb.core.contract.version import VERSION

if TYPE_CHECKING:
    from dr_wandb.core.contract.failures import DrWandbError as DrWandbError
    from dr_wandb.core.contract.failures import FailedRun as FailedRun
    from dr_wandb.core.contract.listing import EveryRun as EveryRun
    from dr_wandb.core.contract.listing import RunListing as RunListing
    from dr_wandb.core.contract.listing import RunsById as RunsById
    from dr_wandb.core.contract.listing import RunsCreatedSince as RunsCreatedSince
    from dr_wandb.core.contract.records import HistoryRow as HistoryRow
    from dr_wandb.core.contract.records import RunSnapshot as RunSnapshot
    from dr_wandb.core.contract.records import WandbRun as WandbRun
    from dr_wandb.core.contract.request import ExportMode as ExportMode
    from dr_wandb.core.contract.request import ExportRequest as ExportRequest
    from dr_wandb.core.contract.request import HistorySelection as HistorySelection
    from dr_wandb.core.contract.request import HistoryWindow as HistoryWindow
    from dr_wandb.core.contract.request import InvalidRequestError as InvalidRequestError
    from dr_wandb.core.contract.request import SyncMode as SyncMode
    from dr_wandb.core.contract.state import ExportState as ExportState
    from dr_wandb.core.sync.manifest import ExportManifest as ExportManifest
    from dr_wandb.core.sync.manifest import ExportSummary as ExportSummary
    from dr_wandb.core.sync.plan import RunPlan as RunPlan
    from dr_wandb.core.sync.plan import SyncPlan as SyncPlan
    from dr_wandb.core.sync.plan import plan_sync as plan_sync
    from dr_wandb.core.sync.survey import ListingPlan as ListingPlan
    from dr_wandb.core.sync.survey import plan_listing as plan_listing
    from dr_wandb.shell.store.store import ExportStore as ExportStore
    from dr_wandb.shell.store.store import iter_history_rows as iter_history_rows
    from dr_wandb.shell.store.store import load_manifest as load_manifest
    from dr_wandb.shell.store.store import load_run_snapshots as load_run_snapshots
    from dr_wandb.shell.sync.engine import ExportEngine as ExportEngine

__version__ = VERSION

_HOMES = {
    "DrWandbError": "core.contract.failures",
    "EveryRun": "core.contract.listing",
    "ExportEngine": "shell.sync.engine",
    "ExportManifest": "core.sync.manifest",
    "ExportMode": "core.contract.request",
    "ExportRequest": "core.contract.request",
    "ExportState": "core.contract.state",
    "ExportStore": "shell.store.store",
    "ExportSummary": "core.sync.manifest",
    "FailedRun": "core.contract.failures",
    "HistoryRow": "core.contract.records",
    "HistorySelection": "core.contract.request",
    "HistoryWindow": "core.contract.request",
    "InvalidRequestError": "core.contract.request",
    "ListingPlan": "core.sync.survey",
    "RunListing": "core.contract.listing",
    "RunPlan": "core.sync.plan",
    "RunSnapshot": "core.contract.records",
    "RunsById": "core.contract.listing",
    "RunsCreatedSince": "core.contract.listing",
    "SyncMode": "core.contract.request",
    "SyncPlan": "core.sync.plan",
    "WandbRun": "core.contract.records",
    "iter_history_rows": "shell.store.store",
    "load_manifest": "shell.store.store",
    "load_run_snapshots": "shell.store.store",
    "plan_listing": "core.sync.survey",
    "plan_sync": "core.sync.plan",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'dr_wandb' has no attribute {name!r}") from None
    return getattr(import_module(f"dr_wandb.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
