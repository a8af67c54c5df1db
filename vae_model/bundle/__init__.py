"""The trained model as files: tensors, encoders, calibration, and what training saw."""
