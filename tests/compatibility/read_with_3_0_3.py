"""Load an export of ours with dr-wandb 3.0.3's own loaders.

Run by hand or by `nox -s compatibility`, in an environment that has 3.0.3 (Python 3.12):

    python tests/compatibility/read_with_3_0_3.py DATA_ROOT NAME
"""

import sys
from pathlib import Path

from dr_wandb import ExportStore, iter_history_rows, load_manifest, load_run_snapshots


def main(data_root: Path, name: str) -> None:
    """Load everything, and say how much there was."""
    manifest = load_manifest(name, data_root)
    assert manifest is not None
    snapshots = load_run_snapshots(name, data_root)
    rows = list(iter_history_rows(name, data_root))
    assert len(snapshots) == manifest.run_count, (len(snapshots), manifest.run_count)
    assert len(rows) == manifest.history_count, (len(rows), manifest.history_count)
    for row in rows:
        assert row.timestamp is None or float(row.timestamp) > 0, row
    store = ExportStore(name=name, data_root=data_root)
    state = store.load_state(entity=manifest.entity, project=manifest.project)
    assert set(state.runs) >= {snapshot.run.run_id for snapshot in snapshots}
    print(f"3.0.3 loads {len(snapshots)} snapshots and {len(rows)} rows of {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
