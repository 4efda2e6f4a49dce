"""Prediction of layers without a trial of them: `python -m experiments.rmse`."""
