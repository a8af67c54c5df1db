"""ADBench: contaminated training rows; 70/30, stratified on the label."""

from __future__ import annotations

LABEL = "is_anomaly"
