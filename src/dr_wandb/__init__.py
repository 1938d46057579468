"""Get experiment data out of Weights & Biases, and keep it.

The public names, and nothing else. Each is imported when it is first used, so that the command
answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dr_wandb.core.version import VERSION

if TYPE_CHECKING:
    from dr_wandb.core.failures import DrWandbError as DrWandbError
    from dr_wandb.core.failures import FailedRun as FailedRun
    from dr_wandb.core.listing import EveryRun as EveryRun
    from dr_wandb.core.listing import RunListing as RunListing
    from dr_wandb.core.listing import RunsById as RunsById
    from dr_wandb.core.listing import RunsCreatedSince as RunsCreatedSince
    from dr_wandb.core.manifest import ExportManifest as ExportManifest
    from dr_wandb.core.manifest import ExportSummary as ExportSummary
    from dr_wandb.core.plan import RunPlan as RunPlan
    from dr_wandb.core.plan import SyncPlan as SyncPlan
    from dr_wandb.core.plan import plan_sync as plan_sync
    from dr_wandb.core.records import HistoryRow as HistoryRow
    from dr_wandb.core.records import RunSnapshot as RunSnapshot
    from dr_wandb.core.records import WandbRun as WandbRun
    from dr_wandb.core.request import ExportMode as ExportMode
    from dr_wandb.core.request import ExportRequest as ExportRequest
    from dr_wandb.core.request import HistorySelection as HistorySelection
    from dr_wandb.core.request import HistoryWindow as HistoryWindow
    from dr_wandb.core.request import InvalidRequestError as InvalidRequestError
    from dr_wandb.core.request import SyncMode as SyncMode
    from dr_wandb.core.state import ExportState as ExportState
    from dr_wandb.core.survey import ListingPlan as ListingPlan
    from dr_wandb.core.survey import plan_listing as plan_listing
    from dr_wandb.shell.engine import ExportEngine as ExportEngine
    from dr_wandb.shell.store import ExportStore as ExportStore
    from dr_wandb.shell.store import iter_history_rows as iter_history_rows
    from dr_wandb.shell.store import load_manifest as load_manifest
    from dr_wandb.shell.store import load_run_snapshots as load_run_snapshots

__version__ = VERSION

_HOMES = {
    "DrWandbError": "core.failures",
    "EveryRun": "core.listing",
    "ExportEngine": "shell.engine",
    "ExportManifest": "core.manifest",
    "ExportMode": "core.request",
    "ExportRequest": "core.request",
    "ExportState": "core.state",
    "ExportStore": "shell.store",
    "ExportSummary": "core.manifest",
    "FailedRun": "core.failures",
    "HistoryRow": "core.records",
    "HistorySelection": "core.request",
    "HistoryWindow": "core.request",
    "InvalidRequestError": "core.request",
    "ListingPlan": "core.survey",
    "RunListing": "core.listing",
    "RunPlan": "core.plan",
    "RunSnapshot": "core.records",
    "RunsById": "core.listing",
    "RunsCreatedSince": "core.listing",
    "SyncMode": "core.request",
    "SyncPlan": "core.plan",
    "WandbRun": "core.records",
    "iter_history_rows": "shell.store",
    "load_manifest": "shell.store",
    "load_run_snapshots": "shell.store",
    "plan_listing": "core.survey",
    "plan_sync": "core.plan",
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
