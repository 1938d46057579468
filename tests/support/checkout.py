"""Where the files of this checkout lie that tests read and never change."""

from pathlib import Path

ROOT = Path(__file__).parents[2]

RECORDING = ROOT / "fixtures" / "recorded" / "tiny-vision"
"""The recording of the demo."""

EXPORT_OF_3_0_3 = ROOT / "fixtures" / "exports" / "dr-wandb-3.0.3" / "kept"
