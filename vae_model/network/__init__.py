"""The network: training's modules in torch, scoring's in numpy, and the likelihood that both share."""
